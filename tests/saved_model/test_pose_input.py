import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models.factory import build_from_config
from perfnet_tf.pose.people import tight_boxes as stored_boxes
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.pose.variants import POSE_VARIANTS
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.saved_model.module import Network, RecognizerModule
from perfnet_tf.saved_model.pose_input import POSE_SIGNATURE, add_pose_input, tight_boxes


def random_people(rng, batch, num_frames, people):
    keypoints = rng.uniform(-0.1, 1.1, (batch, num_frames, people, 17, 3)).astype(np.float32)
    keypoints[..., 2] = rng.uniform(0, 1, keypoints.shape[:-1])
    keypoints[:, 0, -1] = 0  # absent
    return keypoints


def test_boxes_are_those_of_the_records():
    keypoints = random_people(np.random.default_rng(0), 2, 5, 3)
    np.testing.assert_array_equal(tight_boxes(keypoints), stored_boxes(keypoints))
    assert not tight_boxes(keypoints)[:, 0, -1].numpy().any()


@pytest.fixture(scope="module")
def saved(small_model, tmp_path_factory):
    network = Network(small_model)
    module = RecognizerModule(network, "logits")
    signature = add_pose_input(module, network, POSE_VARIANTS["rgb_bar_6_ratio"])
    path = str(tmp_path_factory.mktemp("pose") / "model")
    tf.saved_model.save(module, path, {POSE_SIGNATURE: signature})
    return tf.saved_model.load(path)


@pytest.mark.parametrize(
    ("batch", "num_frames", "size", "people"), [(2, 8, (48, 64), 2), (1, 9, (64, 300), 4)]
)
def test_the_saved_model_draws_and_classifies(small_model, saved, batch, num_frames, size, people):
    rng = np.random.default_rng(batch)
    frames = rng.integers(0, 256, (batch, num_frames, *size, 3), np.uint8)
    keypoints = random_people(rng, batch, num_frames, people)
    boxes = stored_boxes(keypoints)
    drawn = render_pose(frames, keypoints, boxes, POSE_VARIANTS["rgb_bar_6_ratio"])
    expected = small_model(tf.cast(drawn, tf.float32) / 255, training=False)
    np.testing.assert_allclose(saved.from_keypoints(frames, keypoints), expected, atol=1e-4)
    plain = small_model(tf.cast(frames, tf.float32) / 255, training=False)
    assert np.abs(expected - plain).max() > 1e-3  # the people matter
    served = saved.signatures[POSE_SIGNATURE](
        frames=tf.constant(frames), keypoints=tf.constant(keypoints)
    )
    np.testing.assert_allclose(served["logits"], expected, atol=1e-4)
    np.testing.assert_allclose(tf.reduce_sum(served["probabilities"], -1), 1, atol=1e-5)


def check_export(model, config, path, *, inference_only):
    variant = POSE_VARIANTS["black_dot_13_ratio"]
    config = config.replace(stream="pose", pose_render=variant)
    export_saved_model(
        model, path, classes=["a", "b", "c"], config=config, inference_only=inference_only
    )
    loaded = tf.saved_model.load(str(path))
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (1, 8, 64, 48, 3), np.uint8)
    keypoints = random_people(rng, 1, 8, 3)
    drawn = render_pose(frames, keypoints, stored_boxes(keypoints), variant)
    expected = model(tf.cast(drawn, tf.float32) / 255, training=False).numpy()
    found = loaded.from_keypoints(frames, keypoints).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert set(loaded.signatures) == {"serving_default", POSE_SIGNATURE}


def test_pose_exports_take_keypoints_and_draw_as_they_were_trained(
    small_model, config, trained_looking, tmp_path
):
    model = trained_looking(type(small_model)("pose").build_for_stream())
    check_export(model, config, tmp_path / "model", inference_only=False)


@pytest.mark.slow
def test_frozen_pose_exports_take_keypoints_too(config, trained_looking, tmp_path):
    model = trained_looking(build_from_config(config.model, 3, "pose"))
    check_export(model, config, tmp_path / "model", inference_only=True)
