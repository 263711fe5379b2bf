"""Keypoints read from a file next to the video.

Keypoint files hold custom poses (`clip.mp4` -> `clip.keypoints.json`):

    {"fps": 25.0, "width": 320, "height": 240,
     "frames": [[[[x, y, score], ... 17 keypoints], ... people], ... frames]}

x and y are pixels of a `width` x `height` frame, (0, 0) its upper left corner; score is in [0, 1],
and clipped to it; frame i is at i / fps seconds; a frame without people is an empty list. Keypoints
are COCO's (`perfnet_tf.pose.skeleton.KEYPOINT_NAMES`). People are sorted by their mean score.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.people import People
from perfnet_tf.streams import NUM_KEYPOINTS

KEYPOINTS_ENDING = ".keypoints.json"


def keypoints_path(video: str | os.PathLike[str]) -> Path:
    """Path of a video's keypoint file: `clip.mp4` -> `clip.keypoints.json`."""
    return Path(video).with_suffix(KEYPOINTS_ENDING)


def read_keypoints(
    path: str | os.PathLike[str], timestamps: np.ndarray, max_people: int | None = None
) -> People:
    """Reads a keypoint file; each timestamp gets the file's nearest frame.

    Args:
        path: the keypoint file, or the video that it is next to.
        timestamps: seconds, `[frames]`; those past the file's end get its last frame.
        max_people: people kept in each frame; None keeps as many as the fullest frame has.

    Raises:
        InputError: no such file, or its content breaks the format above.
    """
    clip = load_keypoints(path)
    indices = np.maximum(clip.at_times(timestamps), 0)
    return clip.people(indices, (1.0, 1.0), max_people)


def load_keypoints(path: str | os.PathLike[str]) -> ClipKeypoints:
    """Reads a whole keypoint file.

    Args:
        path: the keypoint file, or the video that it is next to.

    Raises:
        InputError: as `read_keypoints`.
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
    return ClipKeypoints([sort_people(people) for people in frames], size, fps)


def _check_content(
    path: Path, content: object
) -> tuple[float, tuple[float, float], list[np.ndarray]]:
    """Frames per second, (width, height), and for each frame `[people, 17, 3]`."""
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
    return fps, (width, height), frames


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
    return check_finite(poses, f"frames[{index}] of {path}")
