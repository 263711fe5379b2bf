"""AlphaPose's results JSON: one list of persons for each video.

At `NAME.json`, `NAME/alphapose-results.json` or `alphapose-results_NAME.json` in the folder. A
person has `image_id`, the frame's file name (`12.jpg` is frame 12 of a video, counted from 0; names
of pictures end in their number), `keypoints`, x, y in pixels and score of 17 joints of COCO, or of
26 or 136 of Halpe, whose first 17 are COCO's; and `score`, by which people are sorted. Scores of
keypoints are heatmap maxima in [0, 6] ("[0,6] for COCO dataset"), drawn by AlphaPose from 0.4 or
0.05 up; those above 1 are clipped. Frames without people are not in the file.

Source: `write_json` in `alphapose/utils/pPose_nms.py` and `docs/output.md` of AlphaPose 0.5 to 0.7
(MVIG-SJTU/AlphaPose).
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.joints import BEGINNING_WITH_COCO, select_joints
from perfnet_tf.pose.keypoint_formats.sources import (
    FileSource,
    as_numbers,
    first_number,
    in_order,
    read_json,
)


def open_source(path: pathlib.Path) -> FileSource:
    """Opens a folder."""
    places = ["*.json", "*/alphapose-results.json", "alphapose-results_*.json"]
    return FileSource(path, places, _read)


def _read(file: pathlib.Path) -> ClipKeypoints:
    content = read_json(file)
    if not isinstance(content, list):
        raise InputError(f"AlphaPose's results are a list of persons. Received: {file}.")
    persons: dict[int, list[tuple[float, np.ndarray]]] = {}
    of_video = True
    for person in content:
        digits, score, joints = _read_person(person, file)
        persons.setdefault(int(digits), []).append((score, joints))
        # Frames of videos are called 0.jpg, 1.jpg, ...
        of_video &= pathlib.PurePath(str(person["image_id"])).stem == str(int(digits))
    frames = {
        number: sort_people(
            np.stack([joints for _, joints in people]), np.array([score for score, _ in people])
        )
        for number, people in persons.items()
    }
    first = 0 if of_video else first_number(list(frames))
    return ClipKeypoints(in_order(frames, first), every_frame=False)


def _read_person(person: Any, file: pathlib.Path) -> tuple[str, float, np.ndarray]:
    """Digits of the frame's number, score, and joints `[17, 3]`."""
    try:
        digits = re.findall(r"\d+", pathlib.PurePath(str(person["image_id"])).stem)
        number, score = digits[-1], float(person["score"])
        numbers = as_numbers(person["keypoints"], str(file), dimensions=1)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "A person of AlphaPose has `image_id` that ends in the frame's number, `keypoints` and "
            f"`score`. Received: another entry in {file}."
        ) from error
    if len(numbers) % 3:
        raise InputError(
            f"`keypoints` has 3 numbers for each joint. Received: {len(numbers)} numbers in {file}."
        )
    joints = select_joints(numbers.reshape(-1, 3), BEGINNING_WITH_COCO, str(file))
    return number, score, check_finite(joints, str(file))
