"""Ultralytics' pose networks (YOLOv8-pose and later): `save_txt`, or arrays of `keypoints.data`.

`save_txt` writes `labels/NAME_12.txt` for frame 12 of a video, counted from 1, one person a line:
class, box (x, y, width, height), then x, y and confidence of 17 joints of COCO, or x and y only,
all fractions of the frame; then the person's confidence (`save_conf`) and its track. All videos in
one folder, or a folder for each (`NAME/labels/...`); frames without people have no file.

Arrays (`NAME.npz`, `NAME.npy`, `NAME.json`) are `[frames][people][17][3]` in pixels of `orig_shape`
(`arrays.read_arrays`). Confidences are sigmoids, in [0, 1]. Joints at (0, 0) were not found:
earlier versions move those below 0.5 there and keep their confidence.

Source: `Results.save_txt` and `Keypoints` in `ultralytics/engine/results.py`, and
`engine/predictor.py`, of Ultralytics 8.4.190; `Keypoints.__init__` at commit 001c4c8.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.arrays import array_places, read_arrays, read_named
from perfnet_tf.pose.keypoint_formats.joints import select_joints
from perfnet_tf.pose.keypoint_formats.sources import (
    FileSource,
    FrameFileSource,
    as_numbers,
    first_number,
    in_order,
    read_json,
)
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES

_ORDERS = {17: KEYPOINT_NAMES}
#: Numbers of a line before the joints: class and box.
_BEFORE = 5


class _Source:
    """Arrays where there are, else text files."""

    def __init__(self, path: pathlib.Path) -> None:
        self._arrays = FileSource(path, array_places("*.json"), _read_file)
        pattern = r"(?P<name>.*?)_?(?P<frame>\d+)\.txt"
        self._texts = FrameFileSource(path, pattern, _read_texts, subfolders=["labels"])

    def find(self, clip_id: str, video: str) -> pathlib.Path | str | None:
        """See `KeypointSource`."""
        return self._arrays.find(clip_id, video) or self._texts.find(clip_id, video)

    def read(self, found: pathlib.Path | str) -> ClipKeypoints:
        """See `KeypointSource`."""
        if isinstance(found, pathlib.Path):
            return self._arrays.read(found)
        return self._texts.read(found)

    def names(self) -> Iterator[str]:
        """See `KeypointSource`."""
        yield from self._texts.names()
        yield from self._arrays.names()


def open_source(path: pathlib.Path) -> _Source:
    """Opens a folder."""
    return _Source(path)


def _read_file(file: pathlib.Path) -> ClipKeypoints:
    content = read_json(file) if file.suffix == ".json" else read_named(file)
    return read_arrays(content, _ORDERS, str(file), drop_origin=True)


def _read_texts(files: Mapping[int, pathlib.Path]) -> ClipKeypoints:
    frames = {number: _read_text(file) for number, file in files.items()}
    return ClipKeypoints(
        in_order(frames, first_number(list(frames))), (1.0, 1.0), every_frame=False
    )


def _read_text(file: pathlib.Path) -> np.ndarray:
    try:
        lines = file.read_text().splitlines()
        people = [list(map(float, line.split())) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise InputError(f"A frame of save_txt has lines of numbers. Received: {file}.") from error
    if not people:
        return np.zeros((0, 17, 3))
    numbers = as_numbers(people, str(file), dimensions=2)
    count = numbers.shape[1] - _BEFORE
    per_joint = 3 if count >= 51 else 2
    extra = count - 17 * per_joint
    if extra not in (0, 1, 2):
        raise InputError(
            "A line of save_txt has 5 numbers, 17 joints of 2 or 3, and at most 2 more. "
            f"Received: {numbers.shape[1]} numbers in {file}."
        )
    joints = numbers[:, _BEFORE : _BEFORE + 17 * per_joint].reshape(len(numbers), 17, per_joint)
    if per_joint == 2:
        joints = np.concatenate([joints, np.ones((len(joints), 17, 1))], axis=-1)
    joints = select_joints(joints, _ORDERS, str(file))
    joints[~joints[..., :2].any(axis=-1)] = 0
    last = numbers[:, -extra] if extra else None
    confidence = last if last is not None and ((last >= 0) & (last <= 1)).all() else None
    return sort_people(check_finite(joints, str(file)), confidence)
