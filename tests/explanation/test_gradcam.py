import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tiny_network import TinyNetwork

from perfnet_tf.errors import InputError
from perfnet_tf.explanation.gradcam import GradCam, list_endpoints, resize_maps
from perfnet_tf.models.factory import build_model

CLIPS = np.random.default_rng(0).integers(0, 256, (2, 6, 20, 28, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny():
    tf_keras.utils.set_random_seed(0)
    model = TinyNetwork(3).build_for_stream()
    kernel = model.classifier.kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape).astype(np.float32))
    return model


def test_maps_of_the_pooled_endpoint_are_its_channels_weighed_by_the_classifier(tiny):
    found = GradCam(tiny)(CLIPS, [2, 0])
    units = tiny.endpoints(CLIPS)["unit"].numpy()  # [2, 3, 10, 14, 8]
    kernel = tiny.classifier.kernel.numpy()
    # The logit is the mean of the channels times the kernel: so is its gradient, up to a factor.
    maps = np.stack([units[0] @ kernel[:, 2], units[1] @ kernel[:, 0]])
    expected = resize_maps(np.maximum(maps, 0), (6, 20, 28)).numpy()
    expected /= expected.max(axis=(1, 2, 3), keepdims=True)
    assert expected.max(axis=(1, 2, 3)).tolist() == [1, 1]
    assert (expected == 0).any()
    np.testing.assert_allclose(found.maps, expected, rtol=1e-4, atol=1e-5)
    assert found.classes.tolist() == [2, 0]
    np.testing.assert_allclose(found.logits, tiny(CLIPS), rtol=1e-5, atol=1e-6)


def test_without_classes_the_largest_logit_is_explained(tiny):
    found = GradCam(tiny)(CLIPS)
    assert found.classes.tolist() == tiny(CLIPS).numpy().argmax(axis=1).tolist()
    np.testing.assert_array_equal(found.maps, GradCam(tiny)(CLIPS, found.classes).maps)


def test_a_class_that_nothing_speaks_for_has_an_empty_map(tiny):
    kernel = tiny.classifier.kernel
    before = kernel.numpy()
    # ConvUnit ends in a ReLU: all channels are positive, and all of them speak against class 1.
    kernel.assign(np.where(np.arange(3) == 1, -np.abs(before) - 0.1, before))
    try:
        found = GradCam(tiny)(CLIPS, [1, 1])
    finally:
        kernel.assign(before)
    assert not found.maps.any()


def test_a_frozen_network_is_explained_as_a_trainable_one(tiny):
    expected = GradCam(tiny)(CLIPS).maps
    tiny.trainable = False
    try:
        found = GradCam(tiny)(CLIPS).maps
    finally:
        tiny.trainable = True
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("backbone", "last", "inner"),
    [
        ("r3d50_g", "res5", "res3"),
        ("s3d_g", "Mixed_5c", "Mixed_3c"),
        ("i3d", "Mixed_5c", "Mixed_3c"),
    ],
)
def test_backbones_are_explained_at_any_endpoint(backbone, last, inner):
    tf_keras.utils.set_random_seed(0)
    model = build_model(backbone, num_classes=4, width_multiplier=0.0625)
    clip = np.random.default_rng(2).random((1, 8, 64, 96, 3), np.float32)
    clips, classes = np.repeat(clip, 4, axis=0), [0, 1, 2, 3]
    assert list_endpoints(model)[-1] == last
    assert GradCam(model).endpoint == last

    found = GradCam(model, inner)(clips, classes)

    # Not eagerly: TensorFlow's eager gradient of MaxPool3D on CPUs gives every one of several equal
    # maxima the whole gradient.
    @tf.function(autograph=False)
    def differentiate():
        with tf.GradientTape() as tape:
            named = model.endpoints(clips)
            score = tf.linalg.trace(named["logits"])
        return tape.gradient(score, named[inner]), named[inner]

    gradient, activation = (value.numpy() for value in differentiate())
    weighed = gradient.mean(axis=(1, 2, 3), keepdims=True) * activation
    expected = resize_maps(np.maximum(weighed.sum(axis=-1), 0), (8, 64, 96)).numpy()
    peaks = expected.max(axis=(1, 2, 3), keepdims=True)
    assert peaks.max() > 0
    np.testing.assert_allclose(found.maps, expected / np.where(peaks, peaks, 1), atol=1e-4)


def test_maps_are_interpolated_between_pixel_centres():
    maps = tf.reshape(tf.constant([0.0, 1.0]), [1, 2, 1, 1])  # two steps in time
    np.testing.assert_allclose(
        resize_maps(maps, (4, 1, 1)).numpy().ravel(), [0, 0.25, 0.75, 1], atol=1e-6
    )
    maps = tf.reshape(tf.range(6.0), [1, 1, 2, 3])
    wide = resize_maps(maps, (5, 2, 6)).numpy()
    assert wide.shape == (1, 5, 2, 6)
    np.testing.assert_allclose(wide[0, 3, 0], [0, 0.25, 0.75, 1.25, 1.75, 2], atol=1e-6)


def test_bad_input_is_refused(tiny):
    with pytest.raises(InputError, match="Did you mean 'unit'"):
        GradCam(tiny, "units")
    with pytest.raises(InputError, match="endpoint must be one of"):
        GradCam(tiny, "logits")
    with pytest.raises(InputError, match=r"0\.\.2"):
        GradCam(tiny)(CLIPS, [0, 3])
    with pytest.raises(InputError, match="frames, height, width"):
        GradCam(tiny)(CLIPS[0])
