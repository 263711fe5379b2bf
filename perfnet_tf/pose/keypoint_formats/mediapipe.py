"""MediaPipe's 33 landmarks, kept as one array for each video.

At `NAME.npy`, `NAME.npz` or `NAME.json` in the folder: `[frames, 33, numbers]`, or
`[frames, people, 33, numbers]`; in JSON, frames may be lists of landmarks with `x`, `y` and
`visibility`, and empty or null. Numbers are (x, y, z, visibility), with `presence` after it where
wanted, or (x, y, visibility); x and y are fractions of the frame. Frames whose numbers are all NaN
or 0 have nobody. `visibility` is "either a sigmoid or an argument of sigmoid" by MediaPipe's
reference; the pose landmarker gives the sigmoid, in [0, 1], and others are clipped.

Source: MediaPipe's guide to the pose landmarker and its reference of `NormalizedLandmark` (0.10).
Landmarks are objects in memory: how programs save them is not MediaPipe's, and the layouts above
are the usual ones.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints
from perfnet_tf.pose.keypoint_formats.arrays import array_places, read_arrays, read_named
from perfnet_tf.pose.keypoint_formats.joints import MEDIAPIPE
from perfnet_tf.pose.keypoint_formats.sources import FileSource, read_json


def open_source(path: pathlib.Path) -> FileSource:
    """Opens a folder."""
    return FileSource(path, array_places("*.json"), _read)


def _read(file: pathlib.Path) -> ClipKeypoints:
    if file.suffix == ".json":
        content = read_json(file)
    else:
        content = next(iter(read_named(file).values()), [])
    if isinstance(content, dict):
        content = content.get("frames", content.get("pose_landmarks"))
    if content is None or isinstance(content, str):
        raise InputError(f"MediaPipe's landmarks are a list of frames. Received: {file}.")
    frames = [_scored(frame, str(file)) for frame in content]
    clip = read_arrays(frames, MEDIAPIPE, str(file))
    return ClipKeypoints(clip.frames, (1.0, 1.0))


def _scored(frame: Any, where: str) -> np.ndarray | list[Any]:
    """Landmarks as (x, y, visibility)."""
    if frame is None or not len(frame):
        return []
    try:
        values = np.array(_plain(frame), np.float64)
        if values.ndim == 2:
            values = values[None]
        if values.ndim != 3 or values.shape[-1] < 3:
            raise ValueError
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            "A landmark is (x, y, z, visibility) or (x, y, visibility). "
            f"Received: another content in {where}."
        ) from error
    score = values[..., 2 if values.shape[-1] == 3 else 3]
    if values.shape[-1] == 3 and np.nanmin(score, initial=0) < 0:
        raise InputError(
            "The third of three numbers must be the visibility, which is not below 0. "
            f"Received: {where}, where it is, as z would be. Save the visibility."
        )
    return np.stack([values[..., 0], values[..., 1], score], axis=-1)


def _plain(landmarks: Any) -> Any:
    """Lists of landmarks as objects with x, y and visibility, as lists of numbers."""
    if isinstance(landmarks, dict):
        return [landmarks["x"], landmarks["y"], landmarks["visibility"]]
    return [_plain(one) for one in landmarks] if isinstance(landmarks, list) else landmarks
