"""OpenPose's `--write_json`: a JSON file for each frame, `NAME_000000000012_keypoints.json`.

In a folder for each video (`FOLDER/NAME/...`), or those of all videos in one folder. `people` is a
list of `pose_keypoints_2d`, x, y and score of BODY_25's 25 joints or COCO's 18; joints that were
not found are zero. x and y are pixels of the video (`--keypoint_scale=0`), in [0, 1] (3) or in
[-1, 1] (4), which is read from their range over the clip. Scores are said to be in [0, 1], but as
peaks of interpolated heatmaps they exceed it (1.4); those above 1 are clipped. People are sorted by
their mean score.

Source: `doc/02_output.md` of OpenPose 1.7.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.joints import OPENPOSE, select_joints
from perfnet_tf.pose.keypoint_formats.sources import (
    FrameFileSource,
    as_numbers,
    first_number,
    in_order,
    read_json,
)


def open_source(path: pathlib.Path) -> FrameFileSource:
    """Opens a folder."""
    return FrameFileSource(path, r"(?P<name>.*?)_?(?P<frame>\d+)_keypoints\.json", _read)


def _read(files: Mapping[int, pathlib.Path]) -> ClipKeypoints:
    frames = {number: _read_frame(file) for number, file in files.items()}
    points = [people[people[..., 2] > 0] for people in frames.values()]  # [found, 3] each
    found = np.concatenate([*points, np.zeros((0, 3))])[:, :2]
    size = None
    if len(found) and np.abs(found).max() <= 1:
        size = (1.0, 1.0)
        if found.min() < 0:
            for people in frames.values():
                people[..., :2] = (people[..., :2] + 1) / 2
    return ClipKeypoints(in_order(frames, first_number(list(frames))), size)


def _read_frame(file: pathlib.Path) -> np.ndarray:
    content = read_json(file)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(
        isinstance(one, dict) and isinstance(one.get("pose_keypoints_2d"), list) for one in people
    ):
        raise InputError(
            f"A frame of OpenPose has `people` with `pose_keypoints_2d`. Received: {file}."
        )
    if not people:
        return np.zeros((0, 17, 3))
    numbers = as_numbers([one["pose_keypoints_2d"] for one in people], str(file), dimensions=2)
    if numbers.shape[1] % 3:
        raise InputError(
            f"`pose_keypoints_2d` has 3 numbers for each joint. Received: {numbers.shape[1]} "
            f"numbers in {file}."
        )
    joints = select_joints(numbers.reshape(len(people), -1, 3), OPENPOSE, str(file))
    return sort_people(check_finite(joints, str(file)))
