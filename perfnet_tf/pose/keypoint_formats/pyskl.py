"""Skeleton pickles of PYSKL and MMAction2, read without running code, and written.

A dictionary with `split` (name of a split -> list of `frame_dir`) and `annotations`, or a list of
annotations. An annotation is a dictionary: `frame_dir` the clip's name, `label`, `img_shape` and
`original_shape` (height, width), `total_frames` T, `keypoint` `[M, T, 17, 2]` in pixels and
`keypoint_score` `[M, T, 17]`, both mostly float16; people of one frame in the order of the file,
which is that of their detection scores; places without a person are zero. Compressed annotations
(`--compress`) have `keypoint` `[N, 17, 3]` and `frame_inds` `[N]`. Scores are HRNet's heatmap
maxima, mostly in [0, 1]; others are clipped to it.

`write_pyskl` adds `fps`, which PYSKL ignores, and stores float64, from which float32 fractions of
the frame come back to the bit.

Source: `tools/data/README.md` and `tools/data/custom_2d_skeleton.py` of PYSKL
(kennymckormick/pyskl, October 2022); MMAction2 1.2 (`tools/data/skeleton`) has the same layout.
3-D skeletons (NTU's 25 joints) and Kinetics' table of contents without keypoints are refused.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.files import atomic_file
from perfnet_tf.pickles.reading import PickledArray, read_pickle
from perfnet_tf.pickles.writing import write_pickle
from perfnet_tf.pose.clip_keypoints import ClipKeypoints, check_finite
from perfnet_tf.pose.keypoint_formats.joints import select_joints
from perfnet_tf.pose.keypoint_formats.labelled import LabelledKeypoints
from perfnet_tf.pose.keypoint_formats.sources import IndexedSource
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES
from perfnet_tf.streams import NUM_KEYPOINTS

_ORDERS = {NUM_KEYPOINTS: KEYPOINT_NAMES}


def open_source(path: pathlib.Path) -> IndexedSource[Mapping[str, Any]]:
    """Opens a pickle.

    Raises:
        InputError: it holds something else, or a clip twice.
    """
    content = read_pickle(path)
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(annotations, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("frame_dir"), str) for entry in annotations
    ):
        raise InputError(
            "A skeleton pickle has a list of `annotations` with `frame_dir`, `keypoint` and "
            f"`keypoint_score`. Received: {path}."
        )
    clips: dict[str, Mapping[str, Any]] = {}
    for entry in annotations:
        if entry["frame_dir"] in clips:
            raise InputError(
                f"A skeleton pickle has each clip once. Received: {entry['frame_dir']} twice in "
                f"{path}."
            )
        clips[entry["frame_dir"]] = entry
    return IndexedSource(clips, lambda entry: _read(entry, f"{entry['frame_dir']} of {path}"))


def _read(entry: Mapping[str, Any], where: str) -> ClipKeypoints:
    keypoint, score = entry.get("keypoint"), entry.get("keypoint_score")
    if not isinstance(keypoint, PickledArray):
        raise InputError(
            f"An annotation must hold the array `keypoint`. Received: {where} without it, as in a "
            "table of contents of Kinetics-400. Give the file with the skeletons."
        )
    try:
        points = select_joints(keypoint.numpy(), _ORDERS, where)
        frame_numbers = entry.get("frame_inds")
        if isinstance(frame_numbers, PickledArray):
            frames = _decompress(points, frame_numbers.numpy(), entry.get("total_frames"))
        elif isinstance(score, PickledArray) and keypoint.shape[-1:] == (2,):
            scored = np.concatenate([points, score.numpy()[..., None]], axis=-1)
            frames = [people[people.any(axis=(1, 2))] for people in scored.swapaxes(0, 1)]
        else:
            raise ValueError
        if not frames or frames[0].shape[1:] != (NUM_KEYPOINTS, 3):
            raise ValueError
    except InputError:
        raise
    except (ValueError, IndexError, TypeError, UnicodeError) as error:
        raise InputError(
            "A 2-D skeleton is `keypoint` [people, frames, 17, 2] with `keypoint_score` [people, "
            f"frames, 17]. Received: {list(keypoint.shape)} and "
            f"{list(getattr(score, 'shape', []))} for {where}."
        ) from error
    for people in frames:
        check_finite(people, where)
    shape = entry.get("img_shape") or entry.get("original_shape")
    size = (float(shape[1]), float(shape[0])) if shape else None
    fps = entry.get("fps")
    return ClipKeypoints(frames, size, float(fps) if fps else None)


def _decompress(points: np.ndarray, numbers: np.ndarray, total: Any) -> list[np.ndarray]:
    """Frames of the people `[N, 17, 3]` that are in the frames `numbers` `[N]`."""
    if len(numbers) != len(points):
        raise ValueError
    total = max(int(total or 0), int(numbers.max(initial=-1)) + 1)
    return [points[numbers == number] for number in range(total)]


def write_pyskl(
    path: pathlib.Path,
    clips: Iterator[LabelledKeypoints],
    splits: Mapping[str, Sequence[str]],
) -> None:
    """Writes a skeleton pickle; one clip at a time is in memory.

    Args:
        path: the file.
        clips: their keypoints.
        splits: name of a split -> names of its clips.
    """
    content = {
        "split": {name: list(names) for name, names in splits.items()},
        "annotations": map(_annotation, clips),
    }
    with atomic_file(path) as file:
        write_pickle(file, content)


def _annotation(clip: LabelledKeypoints) -> dict[str, Any]:
    there = clip.keypoints.any(axis=(2, 3))  # [frames, people]
    people = max(1, int(there.sum(axis=1).max(initial=0)))
    keypoints = clip.keypoints[:, :people].swapaxes(0, 1)  # [people, frames, 17, 3]
    width, height = clip.size
    return {
        "frame_dir": clip.name,
        "label": clip.label,
        "img_shape": (height, width),
        "original_shape": (height, width),
        "total_frames": len(clip.keypoints),
        "fps": float(clip.fps),
        "keypoint": keypoints[..., :2].astype(np.float64) * clip.size,
        "keypoint_score": keypoints[..., 2],
    }
