"""The people that a pose estimator finds in frames, and the interface of estimators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from perfnet_tf.streams import NUM_KEYPOINTS

#: Keypoints below this score do not widen a person's box; `PoseRenderConfig.min_score`'s default.
MIN_KEYPOINT_SCORE = 0.2


@dataclass(frozen=True)
class People:
    """The people of a clip.

    Attributes:
        keypoints: float32 `[frames, people, 17, 3]`: x, y in [0, 1] of the frame, score in [0, 1].
        boxes: float32 `[frames, people, 4]`: x_min, y_min, x_max, y_max in [0, 1] of the frame,
            tight around the keypoints whose score reaches the estimator's minimum.

    In each frame people are sorted by falling score; places without a person are last and zero.
    """

    keypoints: np.ndarray
    boxes: np.ndarray

    def __post_init__(self) -> None:
        shape = self.keypoints.shape
        if (
            len(shape) != 4
            or shape[2:] != (NUM_KEYPOINTS, 3)
            or self.boxes.shape != (*shape[:2], 4)
        ):
            raise ValueError(
                "keypoints must be [frames, people, 17, 3] and boxes [frames, people, 4]. "
                f"Received: {list(shape)} and {list(self.boxes.shape)}."
            )


class PoseEstimator(Protocol):
    """Finds people in frames."""

    name: str

    def __call__(self, frames: np.ndarray) -> People:
        """Finds the people in `frames`, uint8 RGB `[frames, height, width, 3]`."""
        ...


def assemble_people(
    poses: Sequence[np.ndarray], max_people: int, min_score: float = MIN_KEYPOINT_SCORE
) -> People:
    """Packs each frame's poses, best first, into one array.

    Args:
        poses: for each frame float `[people, 17, 3]`, people by falling score, any number of them.
        max_people: places per frame; people beyond them are dropped.
        min_score: keypoints below it do not widen the box.
    """
    keypoints = np.zeros((len(poses), max_people, NUM_KEYPOINTS, 3), np.float32)
    for frame, people in enumerate(poses):
        kept = people[:max_people]
        keypoints[frame, : len(kept)] = kept
    return People(keypoints, tight_boxes(keypoints, min_score))


def tight_boxes(keypoints: np.ndarray, min_score: float = MIN_KEYPOINT_SCORE) -> np.ndarray:
    """Boxes around the keypoints whose score reaches `min_score`; zeros where there are none.

    Args:
        keypoints: `[..., 17, 3]`.

    Returns:
        float32 `[..., 4]`: x_min, y_min, x_max, y_max, clipped to the frame.
    """
    visible = keypoints[..., 2:] >= max(min_score, np.finfo(np.float32).tiny)  # [..., 17, 1]
    points = np.clip(keypoints[..., :2], 0.0, 1.0)
    low = np.where(visible, points, np.inf).min(axis=-2)
    high = np.where(visible, points, -np.inf).max(axis=-2)
    boxes = np.concatenate([low, high], axis=-1)
    return np.where(visible.any(axis=-2), boxes, 0.0).astype(np.float32)
