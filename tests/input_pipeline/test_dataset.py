import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from prepared_clips import make_clip, write_dataset, write_tiny_dataset
from tensorflow.python.autograph.impl import api

import perfnet_tf
from perfnet_tf.config import ClipConfig, PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import (
    build_dataset,
    explaining_damaged_records,
    streams_of,
)
from perfnet_tf.input_pipeline.order import shuffled_position
from perfnet_tf.pose.rendering import render_pose

CLIP = ClipConfig(6, 24, 32, short_side=28)
EVERYTHING = ("rgb", "flow", "pose")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def batches(data, split="train", *, take=None, **options):
    settings = {"clip": CLIP, "streams": ["rgb"], "batch_size": 4, "training": True}
    dataset = build_dataset(data, split, with_clip_ids=True, **{**settings, **options})
    return list((dataset if take is None else dataset.take(take)).as_numpy_iterator())


def ids(some_batches):
    return [clip_id for batch in some_batches for clip_id in batch["clip_id"]]


def assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_a_batch_is_what_features_documents_with_static_shapes(data):
    dataset = build_dataset(
        data, "train", clip=CLIP, streams=EVERYTHING, batch_size=4, training=True
    )
    assert dataset.element_spec == {
        "rgb": tf.TensorSpec([4, 6, 24, 32, 3], tf.uint8),
        "flow": tf.TensorSpec([4, 6, 24, 32, 2], tf.float32),
        "keypoints": tf.TensorSpec([4, 6, 2, 17, 3], tf.float32),
        "boxes": tf.TensorSpec([4, 6, 2, 4], tf.float32),
        "label": tf.TensorSpec([4], tf.int32),
    }


@pytest.mark.parametrize("training", [False, True])
def test_autograph_converts_nothing(data, monkeypatch, training):
    monkeypatch.setattr(api, "_convert_actual", lambda entity, *_: pytest.fail(str(entity)))
    dataset = build_dataset(
        data, "train", clip=CLIP, supervised="pose", batch_size=2, training=training
    )
    next(iter(dataset))


def test_a_pass_takes_each_clip_once_and_the_next_takes_them_in_another_order(data):
    order = ids(batches(data, take=30))[:120]  # 8 passes over 15 clips
    passes = [order[i : i + 15] for i in range(0, 120, 15)]
    assert all(len(set(one)) == 15 for one in passes)
    assert len({tuple(one) for one in passes}) == 8


@pytest.mark.parametrize("start", [1, 5])
def test_starting_at_a_step_gives_what_a_run_from_the_beginning_would_have_seen(data, start):
    whole = batches(data, streams=EVERYTHING, seed=3, take=9)
    assert_equal(
        batches(data, streams=EVERYTHING, seed=3, start_step=start, take=9 - start), whole[start:]
    )


def test_another_seed_is_another_order_and_augmentation(data):
    one, other = (batches(data, seed=seed, take=4) for seed in (0, 1))
    assert ids(one) != ids(other)
    clips = [
        {i: f for b in some for i, f in zip(b["clip_id"], b["rgb"], strict=True)}
        for some in (one, other)
    ]
    common = set(clips[0]) & set(clips[1])
    assert any((clips[0][i] != clips[1][i]).any() for i in common)


def test_streams_of_a_clip_share_crop_and_mirroring(data):
    # Blue grows with the column, and everything flows by (label + 1) pixels: right unless mirrored.
    for batch in batches(data, streams=EVERYTHING, take=4):
        for rgb, flow, label in zip(batch["rgb"], batch["flow"], batch["label"], strict=True):
            mirrored = rgb[0, 0, 0, 2] > rgb[0, 0, -1, 2]
            dx, dy = flow[0].reshape(-1, 2).mean(0)
            expected = (label + 1) * 37 / 64  # 48x64 is resized to 28x37
            assert dx == pytest.approx(-expected if mirrored else expected, abs=0.1)
            assert dy == pytest.approx(-(label + 1) * 28 / 48, abs=0.1)


def test_without_mirroring_no_clip_is_mirrored(data):
    for batch in batches(data, mirror=False, take=6):
        assert (batch["rgb"][:, 0, 0, 0, 2] < batch["rgb"][:, 0, 0, -1, 2]).all()


def test_what_is_not_compiled_gives_the_same_clips(data, monkeypatch):
    compiled = batches(data, streams=EVERYTHING, seed=5, take=5)
    monkeypatch.setattr("perfnet_tf.input_pipeline.augment.processor_compiles", lambda: False)
    assert_equal(compiled, batches(data, streams=EVERYTHING, seed=5, take=5))


def test_evaluation_is_one_pass_in_order_central_and_unchanged(data):
    some = batches(data, "test", training=False, clip=ClipConfig(5, 48, 48, short_side=48))
    assert [len(batch["label"]) for batch in some] == [4, 3]
    stored = {record.clip_id: record for record in (clip(n) for n in range(7))}
    assert len(set(ids(some))) == 7
    for batch in some:
        for clip_id, rgb, label in zip(batch["clip_id"], batch["rgb"], batch["label"], strict=True):
            record = stored[clip_id.decode()]
            first = (record.num_frames - 5) // 2
            expected = record.frames[first : first + 5, :, 8:56].astype(int)
            assert np.abs(rgb.astype(int) - expected).mean() < 3  # JPEG
            assert label == record.label


def clip(number):
    return make_clip(number, number % 3, frames=9 + number % 4, height=48, width=64)


def test_dropping_the_remainder_of_an_evaluation(data):
    some = batches(data, "test", training=False, drop_remainder=True)
    assert [len(batch["label"]) for batch in some] == [4]


def test_workers_share_the_batches_of_one_order(data):
    whole = batches(data, batch_size=4, seed=2, start_step=3, take=4)
    shares = [
        batches(
            data,
            seed=2,
            start_step=3,
            take=8,
            input_context=tf.distribute.InputContext(2, worker, num_replicas_in_sync=4),
        )
        for worker in (0, 1)
    ]
    # Each worker has two replicas of one clip each: two batches of one clip make its share.
    joined = [
        np.concatenate([shares[w][2 * step + i]["rgb"] for w in (0, 1) for i in (0, 1)])
        for step in range(4)
    ]
    for batch, rgb in zip(whole, joined, strict=True):
        np.testing.assert_array_equal(batch["rgb"], rgb)


def test_clips_of_different_sizes_and_a_single_frame_make_one_batch(tmp_path):
    clips = [
        make_clip(0, 0, frames=1, height=48, width=64),
        make_clip(1, 1, frames=30, height=64, width=48),
        make_clip(2, 1, frames=7, height=20, width=90),
    ]
    folder = write_dataset(tmp_path / "mixed", {"train": clips}, num_classes=2)
    (batch,) = batches(folder, batch_size=3, streams=EVERYTHING, take=1)
    assert batch["rgb"].shape == (3, 6, 24, 32, 3)


def test_pose_is_drawn_over_the_augmented_frames_also_under_xla(data):
    (batch,) = batches(data, streams=["pose"], take=1)
    batch.pop("clip_id")
    config = PoseRenderConfig(thickness=0.1)
    drawn = streams_of(batch, ["pose", "rgb"], config)
    np.testing.assert_array_equal(drawn["rgb"], batch["rgb"])
    assert (drawn["pose"].numpy() != batch["rgb"]).any()
    np.testing.assert_array_equal(
        drawn["pose"], render_pose(batch["rgb"], batch["keypoints"], batch["boxes"], config)
    )
    compiled = tf.function(lambda b: streams_of(b, ["pose"], config), jit_compile=True)(batch)
    np.testing.assert_array_equal(compiled["pose"], drawn["pose"])


def test_poses_drawn_on_clips_of_many_sizes_raise_no_warning(caplog):
    people = {"keypoints": tf.zeros([1, 2, 1, 17, 3]), "boxes": tf.zeros([1, 2, 1, 4])}
    for width in range(8, 15):
        frames = tf.fill([1, 2, 10, width, 3], tf.constant(width, tf.uint8))
        drawn = streams_of({"rgb": frames, **people}, ["pose"], PoseRenderConfig())["pose"]
        np.testing.assert_array_equal(drawn, frames)
    assert "retracing" not in caplog.text


def test_the_order_is_a_permutation_for_any_number_of_clips():
    for num_clips in (1, 2, 7, 64, 1000):
        positions = [
            int(shuffled_position(tf.constant(k, tf.int64), num_clips, 5))
            for k in range(min(num_clips, 64))
        ]
        assert len(set(positions)) == len(positions)
        assert max(positions) < num_clips


def test_records_without_a_stream_are_refused_before_training(tmp_path):
    folder = write_dataset(
        tmp_path / "rgb_only", {"train": [clip(0)]}, num_classes=3, pose=False, flow=False
    )
    for stream in ("flow", "pose"):
        with pytest.raises(InputError, match="Run `perfnet prepare --"):
            batches(folder, streams=[stream])
    with pytest.raises(InputError, match="must name at least one"):
        batches(folder, streams=[])


def test_replicas_must_share_a_batch_evenly(data):
    with pytest.raises(InputError, match="multiple of 3"):
        batches(data, input_context=tf.distribute.InputContext(1, 0, num_replicas_in_sync=3))


def test_a_shard_cut_in_half_is_named_at_once(tmp_path):
    folder = write_tiny_dataset(tmp_path / "cut")
    shard = folder / "train-00001-of-00002.tfrecord"
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(InputError, match="train-00001-of-00002.tfrecord is damaged"):
        batches(folder)


def test_a_flipped_bit_in_a_shard_is_found_and_the_shard_named(tmp_path):
    folder = write_tiny_dataset(tmp_path / "flipped")
    shard = folder / "train-00001-of-00002.tfrecord"
    raw = bytearray(shard.read_bytes())
    raw[4000] ^= 1
    shard.write_bytes(raw)
    with (
        pytest.raises(InputError, match="train-00001-of-00002.tfrecord is damaged: a checksum"),
        explaining_damaged_records(folder, "train"),
    ):
        batches(folder, take=8)


def test_an_empty_split_is_refused(tmp_path):
    folder = write_dataset(tmp_path / "empty", {"train": [clip(0)], "test": []}, num_classes=3)
    with pytest.raises(InputError, match="'test'.*has no clips"):
        batches(folder, "test", training=False)


@pytest.mark.parametrize(("stream", "channels"), [("rgb", 3), ("flow", 2), ("pose", 3)])
def test_any_keras_model_fits_on_a_supervised_dataset(data, stream, channels):
    model = tf_keras.Sequential(
        [
            tf_keras.layers.Rescaling(1 / 255.0),
            tf_keras.layers.Conv3D(2, 3, strides=4),
            tf_keras.layers.GlobalAveragePooling3D(),
            tf_keras.layers.Dense(3),
        ]
    )
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    options = {"clip": CLIP, "supervised": stream, "batch_size": 4}
    training = build_dataset(data, "train", training=True, **options)
    num_clips = perfnet_tf.read_dataset_info(data).split("train")["num_clips"]
    steps = perfnet_tf.steps_per_epoch(num_clips, 4)
    history = model.fit(training, epochs=2, steps_per_epoch=steps, verbose=0)
    assert np.isfinite(history.history["loss"]).all()

    evaluation = build_dataset(data, "train", training=False, **options)
    assert int(evaluation.cardinality()) == -(-num_clips // 4)
    inputs, labels = next(iter(evaluation))
    assert inputs.shape == (4, CLIP.num_frames, CLIP.height, CLIP.width, channels)
    assert labels.shape == (4,)
    plain = build_dataset(data, "train", training=False, clip=CLIP, streams=[stream], batch_size=4)
    batch = next(iter(plain))
    expected = streams_of(batch, [stream], PoseRenderConfig())[stream]
    np.testing.assert_array_equal(inputs, expected)
    np.testing.assert_array_equal(labels, batch["label"])
    assert np.isfinite(model.evaluate(evaluation, verbose=0)).all()


def test_a_supervised_dataset_takes_no_other_streams(data):
    with pytest.raises(InputError, match="one stream"):
        build_dataset(
            data,
            "train",
            clip=CLIP,
            streams=["flow"],
            supervised="rgb",
            batch_size=4,
            training=True,
        )
