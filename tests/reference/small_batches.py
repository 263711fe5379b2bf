"""Small random batches, a student whose gradient NumPy can check, and teachers of both streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.recognizers.recognizer import Teacher

CLASSES = 4


class LinearStudent(tf_keras.Model):
    """Logits that are linear in the clip's mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = tf_keras.layers.Dense(CLASSES, dtype="float32")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.dense(mean_color(inputs))


def mean_color(frames: tf.Tensor) -> tf.Tensor:
    """Of uint8 frames: `[batch, 3]` in 0..1."""
    assert frames.dtype == tf.uint8
    return tf.reduce_mean(tf.cast(frames, tf.float32) / 255, axis=[1, 2, 3])


def flow_teacher(flow: tf.Tensor) -> tf.Tensor:
    """Linear in the mean flow."""
    return tf.reduce_mean(flow, axis=[1, 2, 3]) @ tf.reshape(tf.range(8.0), [2, CLASSES])


def pose_teacher() -> Teacher:
    """Linear in the mean colour of drawn frames."""
    matrix = tf.constant(np.random.default_rng(5).normal(0, 3, (3, CLASSES)), tf.float32)
    return Teacher(
        lambda frames: mean_color(frames) @ matrix, "pose", render=PoseRenderConfig("dot", 6)
    )


def make_batch(labels: Sequence[Any]) -> dict[str, tf.Tensor]:
    """A clip of 3 frames of 8x10 pixels and two people for each label."""
    random = np.random.default_rng(3)
    labels = np.asarray(labels)
    shape = (len(labels), 3, 8, 10)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (len(labels), 3, 2, 1))
    return {
        "rgb": tf.constant(random.integers(0, 256, (*shape, 3)), tf.uint8),
        "flow": tf.constant(random.normal(0, 1, (*shape, 2)), tf.float32),
        "keypoints": tf.constant(random.uniform(0, 1, (*shape[:2], 2, 17, 3)), tf.float32),
        "boxes": tf.constant(boxes),
        "label": tf.constant(labels, tf.int32 if labels.ndim == 1 else tf.float32),
    }
