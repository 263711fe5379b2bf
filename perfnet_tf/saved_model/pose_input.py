"""A pose model that draws by itself: frames and keypoints in, logits out, in the SavedModel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.pose.people import MIN_KEYPOINT_SCORE
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.recognizers.probabilities import probabilities_of
from perfnet_tf.streams import FEATURES, LOGITS, NUM_KEYPOINTS

#: Name of the signature that `add_pose_input` makes.
POSE_SIGNATURE = "from_keypoints"

Named = Callable[..., Mapping[str, tf.Tensor]]


def add_pose_input(
    module: tf.Module, named: Named, render: PoseRenderConfig, label_kind: str = SINGLE_LABEL
) -> Any:
    """Gives an exported pose model `from_keypoints(frames, keypoints)`.

    It takes uint8 RGB frames `[batch, frames, height, width, 3]` and float32 keypoints
    `[batch, frames, people, 17, 3]` (x, y in [0, 1] of the frame, score; COCO's order; a person
    with only scores of 0 is absent). It gives float32 logits `[batch, classes]`, in inference mode.
    People are drawn as the model was trained to see them.

    Args:
        module: gets the attribute.
        named: `named(frames float32 in [0, 1], training=False)` gives the endpoints by name.
        render: how people are drawn.
        label_kind: see `probabilities_of`.

    Returns:
        The concrete function of a signature: `frames`, `keypoints` to `logits`, `probabilities`,
        `features`. Save it under `POSE_SIGNATURE`.
    """
    frames_spec = tf.TensorSpec([None, None, None, None, 3], tf.uint8, name="frames")
    keypoints_spec = tf.TensorSpec(
        [None, None, None, NUM_KEYPOINTS, 3], tf.float32, name="keypoints"
    )

    def endpoints(frames: tf.Tensor, keypoints: tf.Tensor) -> Mapping[str, tf.Tensor]:
        drawn = render_pose(frames, keypoints, tight_boxes(keypoints), render)
        return named(tf.cast(drawn, tf.float32) / 255.0, training=False)

    @tf.function(input_signature=[frames_spec, keypoints_spec], autograph=False)
    def from_keypoints(frames: tf.Tensor, keypoints: tf.Tensor) -> tf.Tensor:
        return endpoints(frames, keypoints)[LOGITS]

    @tf.function(input_signature=[frames_spec, keypoints_spec], autograph=False)
    def serve(frames: tf.Tensor, keypoints: tf.Tensor) -> dict[str, tf.Tensor]:
        found = endpoints(frames, keypoints)
        return {
            "logits": found[LOGITS],
            "probabilities": probabilities_of(found[LOGITS], label_kind),
            "features": found[FEATURES],
        }

    module.from_keypoints = from_keypoints
    return serve.get_concrete_function()


def tight_boxes(keypoints: tf.Tensor, min_score: float = MIN_KEYPOINT_SCORE) -> tf.Tensor:
    """`pose.people.tight_boxes` as a graph: float32 `[..., 17, 3]` to `[..., 4]`."""
    least = max(min_score, float(np.finfo(np.float32).tiny))
    visible = keypoints[..., 2:] >= least  # [..., 17, 1]
    points = tf.clip_by_value(keypoints[..., :2], 0.0, 1.0)
    low = tf.reduce_min(tf.where(visible, points, np.inf), axis=-2)
    high = tf.reduce_max(tf.where(visible, points, -np.inf), axis=-2)
    anyone = tf.reduce_any(visible, axis=-2)  # [..., 1]
    return tf.where(anyone, tf.concat([low, high], axis=-1), 0.0)
