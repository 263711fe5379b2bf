"""What every pose estimator gives, how one is chosen, and keypoints read from a file.

Keypoint files let people bring poses of their own (`clip.mp4` -> `clip.keypoints.json`):

    {"fps": 25.0, "width": 320, "height": 240,
     "frames": [[[[x, y, score], ... 17 keypoints], ... people], ... frames]}

x and y are pixels of a `width` x `height` frame, (0, 0) its upper left corner; score is in [0, 1];
frame i stands at i / fps seconds; a frame without people is an empty list. Keypoints are COCO's
(`perfnet_tf.pose.skeleton.KEYPOINT_NAMES`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.published import resolve_weights
from perfnet_tf.pose.skeleton import NUM_KEYPOINTS

#: Estimators that look at frames.
POSE_ESTIMATORS = ("posenet", "movenet")
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


def make_estimator(
    name: str, weights: str | os.PathLike[str] | None = None, max_people: int = 5
) -> PoseEstimator:
    """Makes an estimator, with its weights loaded.

    Args:
        name: one of `POSE_ESTIMATORS`.
        weights: folder of the estimator's weights, or the name of a model in the cache
            (`pose.published`); None takes the model that the cache holds.
        max_people: people kept in each frame.

    Raises:
        InputError: unknown name, or no usable weights.
    """
    check_choice("pose", name, POSE_ESTIMATORS)
    if max_people < 1:
        raise InputError(f"max_people must be 1 or greater. Received: {max_people}.")
    weights = resolve_weights(name, weights)
    # TensorFlow is imported only once an estimator is wanted.
    if name == "movenet":
        from perfnet_tf.pose.movenet import MoveNetEstimator

        return MoveNetEstimator.load(weights, max_people=max_people)
    from perfnet_tf.pose.posenet import PoseNetEstimator

    return PoseNetEstimator.load(weights, max_people=max_people)


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


def keypoints_path(video: str | os.PathLike[str]) -> Path:
    """Where a video's keypoint file lies: `clip.mp4` -> `clip.keypoints.json`."""
    return Path(video).with_suffix(".keypoints.json")


def read_keypoints(
    path: str | os.PathLike[str], timestamps: np.ndarray, max_people: int | None = None
) -> People:
    """Reads a keypoint file; each timestamp gets the file's nearest frame.

    Args:
        path: the keypoint file, or the video that it lies beside.
        timestamps: seconds, `[frames]`; those past the file's end get its last frame.
        max_people: people kept in each frame; None keeps as many as the fullest frame has.

    Raises:
        InputError: no such file, or its content breaks the format above.
    """
    path = Path(path)
    if path.suffix != ".json":
        path = keypoints_path(path)
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"There is no keypoint file {path}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"The keypoint file {path} is not JSON: {error}.") from error
    fps, size, frames = _check_content(path, content)
    nearest = np.floor(np.asarray(timestamps) * fps + 0.5).astype(np.int64)
    nearest = np.clip(nearest, 0, len(frames) - 1)
    poses = []
    for index in nearest:
        people = frames[index] / size
        order = np.argsort(-people[..., 2].mean(axis=1), kind="stable")
        poses.append(people[order])
    if max_people is None:
        max_people = max(1, max((len(people) for people in frames), default=1))
    return assemble_people(poses, max_people)


def _check_content(path: Path, content: object) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """Frames per second, divisor `[3]` of (x, y, score), and for each frame `[people, 17, 3]`."""
    if not isinstance(content, dict):
        raise InputError(f"The keypoint file {path} must hold a JSON object.")
    numbers = []
    for key in ("fps", "width", "height"):
        value = content.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
            raise InputError(
                f"{key} in the keypoint file {path} must be a number greater than 0. "
                f"Received: {value!r}."
            )
        numbers.append(float(value))
    fps, width, height = numbers
    if not isinstance(content.get("frames"), list) or not content["frames"]:
        raise InputError(f"frames in the keypoint file {path} must be a list that is not empty.")
    frames = [_check_frame(path, index, people) for index, people in enumerate(content["frames"])]
    return fps, np.array([width, height, 1.0]), frames


def _check_frame(path: Path, index: int, people: object) -> np.ndarray:
    try:
        poses = np.array(people, np.float64)
    except (TypeError, ValueError):  # ragged, or not numbers
        poses = np.zeros(0)
        people = None
    if people == []:
        return np.zeros((0, NUM_KEYPOINTS, 3))
    if poses.ndim != 3 or poses.shape[1:] != (NUM_KEYPOINTS, 3):
        raise InputError(
            f"frames[{index}] in the keypoint file {path} must be a list of people, "
            f"each {NUM_KEYPOINTS} keypoints [x, y, score]."
        )
    scores = poses[..., 2]
    if not np.isfinite(poses).all() or scores.min() < 0 or scores.max() > 1:
        raise InputError(
            f"frames[{index}] in the keypoint file {path} must hold finite numbers with scores "
            "from 0 to 1."
        )
    return poses
