"""Splits and labels of a skeleton pickle of PYSKL or MMAction2, as a list of videos.

    split        {"train1": ["v_Lunges_g08_c01", ...], "test1": [...], "train2": ...}
    annotations  [{"frame_dir": "v_Lunges_g08_c01", "label": 51, ...}, ...]

A video is called `frame_dir`, in whichever folder it is. A label is a whole number from 0, or a
list of them (MMAction2's `multi_class`). The number of the split picks `train1` and `test1`; names
without a number (`train`, `val`) always count. `pose.keypoint_formats.pyskl` has the source.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

from perfnet_tf.datasets.annotation_rows import ListRow
from perfnet_tf.datasets.split_names import SPLIT_NAMES
from perfnet_tf.errors import InputError
from perfnet_tf.pickles.reading import read_pickle

_NAME = re.compile(r"(?:(.*)_)?([a-z]+)_?(\d*)")


def read_skeleton_list(path: pathlib.Path, split: int) -> tuple[list[ListRow], list[str]]:
    """The clips of a pickle's splits, and notes.

    Args:
        path: the pickle; nothing in it is run.
        split: which split, where they are numbered.

    Raises:
        InputError: no such pickle, no split of that number, several for one (`xsub_train` and
            `xview_train`), or a clip in two of them or of no label.
    """
    content = read_pickle(path)
    splits = content.get("split") if isinstance(content, dict) else None
    annotations = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(splits, dict) or not isinstance(annotations, list):
        raise InputError(
            "A skeleton pickle that lists videos has `split` and `annotations`. "
            f"Received: {path}, which has not."
        )
    labels = {
        entry["frame_dir"]: _labels(entry, path)
        for entry in annotations
        if isinstance(entry, dict) and isinstance(entry.get("frame_dir"), str)
    }
    rows: list[ListRow] = []
    num_unknown = 0
    for stated, name in _choose(splits, split, path).items():
        where = f"split {name} of {path}"
        for clip in splits[name]:
            if clip not in labels:
                num_unknown += 1
            else:
                rows.append(ListRow(where, clip, labels[clip], split=stated))
    notes = []
    if num_unknown:
        notes.append(f"{num_unknown} clips of the splits have no annotation, and are left out.")
    return rows, notes


def _choose(splits: Mapping[Any, Any], split: int, path: pathlib.Path) -> dict[str, str]:
    """Split -> its name in the file."""
    chosen: dict[str, str] = {}
    for name, clips in splits.items():
        match = _NAME.fullmatch(name.lower()) if isinstance(name, str) else None
        if match is None or match[2] not in SPLIT_NAMES or not isinstance(clips, list):
            raise InputError(
                "The splits of a skeleton pickle are lists with names such as train1 and test1. "
                f"Received: {name!r} in {path}."
            )
        if match[3] and int(match[3]) != split:
            continue
        stated = SPLIT_NAMES[match[2]]
        if stated in chosen:
            raise InputError(
                f"A skeleton pickle has one split {stated!r}. Received: {chosen[stated]} and "
                f"{name} in {path}. Leave one protocol's splits in it, or list the videos."
            )
        chosen[stated] = name
    if not chosen:
        raise InputError(
            f"A skeleton pickle must have the split {split}. Received: {path} with "
            f"{', '.join(map(str, splits)) or 'none'}."
        )
    return chosen


def _labels(entry: Mapping[str, Any], path: pathlib.Path) -> tuple[str, ...]:
    label = entry.get("label")
    numbers = label if isinstance(label, list | tuple) else [label]
    if not numbers or any(
        not isinstance(number, int) or isinstance(number, bool) or number < 0 for number in numbers
    ):
        raise InputError(
            "A label is a whole number from 0, or a list of them. "
            f"Received: {label!r} of {entry['frame_dir']} ({path})."
        )
    return tuple(str(number) for number in numbers)
