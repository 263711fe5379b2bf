"""Arrays of keypoints: `.npy`, `.npz` and JSON lists, as programs keep what a network returned."""

from __future__ import annotations

import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.joints import JointOrders, select_joints

#: Names of an array of keypoints, and of scores, in a file that names them.
_KEYPOINTS, _SCORES = ("keypoints", "data"), ("scores", "keypoint_scores", "conf")


def read_named(file: pathlib.Path) -> dict[str, Any]:
    """The arrays of an `.npz` file; the one of an `.npy` file is called `keypoints`.

    Raises:
        InputError: it cannot be read, or holds objects.
    """
    try:
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"keypoints": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"Arrays must be .npy or .npz files of numbers. Received: {file} ({first_line(error)})."
        ) from error


def read_arrays(
    content: Any, orders: JointOrders, where: str, *, drop_origin: bool = False
) -> ClipKeypoints:
    """Keypoints that were gathered frame by frame.

    Args:
        content: frames of people of joints, `[frames][people][joints][2 or 3]`, or one person per
            frame, `[frames][joints][3]`; or a dictionary with them under `keypoints` or `data`,
            scores `[frames][people][joints]` under `scores`, `keypoint_scores` or `conf`, and
            `width` and `height`, or `orig_shape` (height, width), in pixels. Without scores they
            are 1. People whose numbers are all 0 or all NaN are none.
        orders: the joint orders that the format knows.
        where: the file, for messages.
        drop_origin: joints at (0, 0) were not found: their scores become 0.

    Raises:
        InputError: another content.
    """
    named = content if isinstance(content, dict) else {"keypoints": content}
    keypoints = next((named[name] for name in _KEYPOINTS if name in named), None)
    scores = next((named[name] for name in _SCORES if name in named), None)
    if keypoints is None or isinstance(keypoints, (str, dict)):
        raise InputError(f"Keypoints must be an array or a list of frames. Received: {where}.")
    if scores is not None and len(scores) != len(keypoints):
        raise InputError(
            f"Scores must be there for each frame. Received: {len(scores)} frames of scores and "
            f"{len(keypoints)} of keypoints in {where}."
        )
    frames = [
        _read_frame(people, None if scores is None else scores[index], orders, where, drop_origin)
        for index, people in enumerate(keypoints)
    ]
    return ClipKeypoints(frames, _size(named, where))


def _size(named: dict[str, Any], where: str) -> tuple[float, float] | None:
    try:
        if "orig_shape" in named:
            height, width = named["orig_shape"]
            return float(width), float(height)
        if "width" in named and "height" in named:
            return float(named["width"]), float(named["height"])
    except (TypeError, ValueError) as error:
        raise InputError(f"The frame's size must be two numbers. Received: {where}.") from error
    return None


def _read_frame(
    people: Any, scores: Any, orders: JointOrders, where: str, drop_origin: bool
) -> np.ndarray:
    if people is None or not len(people):
        return np.zeros((0, 17, 3))
    points = _people(people, where)
    if scores is not None:
        given = np.asarray(scores, np.float64).reshape(-1, points.shape[1])
        if len(given) != len(points):
            raise InputError(
                f"A person must have a score for each joint. Received: {len(given)} people with "
                f"scores of {len(points)} in {where}."
            )
        points = np.concatenate([points[..., :2], given[..., None]], axis=-1)
    elif points.shape[-1] == 2:
        points = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1)
    points = points[~np.isnan(points).all(axis=(1, 2))]
    points = points[points[..., :2].any(axis=(1, 2))]
    joints = select_joints(points, orders, where)
    if drop_origin:
        joints[~joints[..., :2].any(axis=-1)] = 0
    return sort_people(check_finite(joints, where))


def _people(people: Any, where: str) -> np.ndarray:
    """`[people, joints, 2 or 3]`."""
    try:
        points = np.array(people, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Every person of a frame must have as many joints. Received: {where}."
        ) from error
    if points.ndim == 2:
        points = points[None]
    if points.ndim != 3 or points.shape[-1] not in (2, 3):
        raise InputError(
            "Keypoints must be [frames][people][joints][2 or 3]. "
            f"Received: a frame of {list(points.shape)} in {where}."
        )
    return points


def array_places(*json_places: str) -> Sequence[str]:
    """Where a clip's arrays may be, for `FileSource`; JSON at these places first."""
    return [*json_places, "*.npz", "*.npy"]
