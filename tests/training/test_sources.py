"""What a network takes over from another: weights of other streams, classes by name."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_network import TinyNetwork, fixed_weights

from perfnet_tf.config import ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.training.sources import copy_weights

CLASSES = ("run", "jump", "swim")
BATCH, FRAMES, HEIGHT, WIDTH = 2, 5, 12, 16


def network(stream, num_classes=3, seed=None, **options):
    model = TinyNetwork(num_classes, stream=stream, **options).build_for_stream()
    if seed is not None:
        fixed_weights(model, seed)
    return model


def run_of(model, classes=CLASSES):
    config = ExperimentConfig(stream=model.stream, model=ModelConfig("tiny"))
    return Run("runs/first", config, classes, model)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (("swim", "run", "jump"), (2, 0, 1)),
        (("fly", "swim"), (None, 2)),
        (("fly", "crawl", "walk", "jump"), (None, None, None, 1)),
        (("fly",), (None,)),
    ],
)
def test_classes_keep_their_part_of_the_classifier_by_name(classes, expected):
    source = network("rgb", seed=1)
    student = network("rgb", len(classes))
    new = [variable.numpy() for variable in student.classifier.variables]
    carried = copy_weights(run_of(source), student, classes)
    shared = sum(place is not None for place in expected)
    assert f"classifier: {shared} of {len(classes)} classes carried over by name" in str(carried)
    for before, mine, other in zip(
        new, student.classifier.variables, source.classifier.variables, strict=True
    ):
        for label, place in enumerate(expected):
            wanted = before[..., label] if place is None else other.numpy()[..., place]
            np.testing.assert_array_equal(mine.numpy()[..., label], wanted)


def test_a_pose_network_starts_as_the_rgb_network():
    source, student = network("rgb", seed=1), network("pose")
    carried = copy_weights(run_of(source), student, CLASSES)
    assert carried.record() == {"stream": "rgb", "first_kernels": "unchanged", "classes": 3}
    frames = np.random.default_rng(0).integers(0, 256, (BATCH, FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    np.testing.assert_array_equal(source(frames), student(frames))


@pytest.mark.parametrize("scaling", ["signed", "torchvision", "caffe"])
def test_a_flow_network_answers_a_grey_clip_of_flow_as_the_rgb_network_a_grey_clip(scaling):
    """dx = dy = 20 v, which is v in [-1, 1], against the grey level v in [-1, 1]."""
    source = network("rgb", seed=1, input_scaling=scaling)
    student = network("flow", input_scaling=scaling)
    carried = copy_weights(run_of(source), student, CLASSES)
    assert "averaged over colour and repeated over (dx, dy)" in str(carried)
    level = np.random.default_rng(0).uniform(-1, 1, (BATCH, FRAMES, HEIGHT, WIDTH, 1))
    # What the first convolution of the RGB network sees is `level` in its own range.
    half = source.normalization(tf.ones([1, 1, 1, 1, 3])) - source.normalization(
        tf.zeros([1, 1, 1, 1, 3])
    )
    seen = tf.cast(level * half.numpy() / 2, tf.float32)
    expected = source.unit(seen)
    flow = student.normalization(tf.cast(20 * np.repeat(level, 2, -1), tf.float32))
    np.testing.assert_allclose(student.unit(flow), expected, rtol=1e-4, atol=1e-4)


def test_other_pairs_of_channels_are_refused():
    with pytest.raises(InputError, match=r"weights for flow \(2 channels\), a network for rgb"):
        copy_weights(run_of(network("flow")), network("rgb"), CLASSES)
