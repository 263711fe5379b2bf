"""MMPose's predictions, and arrays of RTMPose and rtmlib, for each video.

At `NAME.json`, `results_NAME.json` or `NAME/results_NAME.json`: `instance_info` (the demos), or
alone (`MMPoseInferencer`'s `pred_out_dir`), a list with an entry for each frame of the video, in
order, whose `instances` are persons: `keypoints` `[joints][2]` in pixels, `keypoint_scores`
`[joints]`, and `bbox_score`, by which people are sorted, else by their mean score.

Arrays (`NAME.npz`, `NAME.npy`, `NAME.json`): what rtmlib returns of each frame, `keypoints`
`[frames][people][joints][2]` in pixels and `scores` `[frames][people][joints]`
(`arrays.read_arrays`).

Joints: COCO's 17, Halpe's 26 or 136, or COCO-WholeBody's 133, whose first 17 are COCO's. RTMPose's
scores are maxima of SimCC responses, which are no probabilities: they reach from below 0 (a joint
that was not found, at -1) to above 1, and are clipped.

Source: `split_instances` in `mmpose/structures/utils.py`, `demo/topdown_demo_with_mmdet.py` and
`apis/inferencers` of MMPose 1.3; `tools/pose_estimation/post_processings.py` of rtmlib 0.0.16.
"""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite, sort_people
from perfnet_tf.pose.keypoint_formats.arrays import array_places, read_arrays, read_named
from perfnet_tf.pose.keypoint_formats.joints import BEGINNING_WITH_COCO, select_joints
from perfnet_tf.pose.keypoint_formats.sources import FileSource, as_numbers, read_json


def open_source(path: pathlib.Path) -> FileSource:
    """Opens a folder."""
    places = array_places("*.json", "results_*.json", "*/*.json", "*/results_*.json")
    return FileSource(path, places, _read)


def _read(file: pathlib.Path) -> ClipKeypoints:
    content = read_json(file) if file.suffix == ".json" else read_named(file)
    frames = content.get("instance_info") if isinstance(content, dict) else content
    if isinstance(frames, list) and frames and all(map(_has_instances, frames)):
        return ClipKeypoints([_read_frame(frame["instances"], str(file)) for frame in frames])
    return read_arrays(content, BEGINNING_WITH_COCO, str(file))


def _has_instances(frame: Any) -> bool:
    return isinstance(frame, dict) and "instances" in frame


def _read_frame(instances: Any, where: str) -> np.ndarray:
    if not instances:
        return np.zeros((0, 17, 3))
    try:
        points = as_numbers([one["keypoints"] for one in instances], where, dimensions=3)
        scores = as_numbers([one["keypoint_scores"] for one in instances], where, dimensions=2)
        people = np.concatenate([points[..., :2], scores[..., None]], axis=-1)
        whole = None
        if all("bbox_score" in one for one in instances):
            whole = np.array([float(one["bbox_score"]) for one in instances])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "An instance of MMPose has `keypoints` and `keypoint_scores` of as many joints. "
            f"Received: another content in {where}."
        ) from error
    joints = select_joints(people, BEGINNING_WITH_COCO, where)
    return sort_people(check_finite(joints, where), whole)
