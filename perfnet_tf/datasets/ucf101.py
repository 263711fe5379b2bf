"""UCF-101 (Soomro et al. 2012), and any dataset with lists in its format.

    VIDEOS/Lunges/v_Lunges_g01_c01.avi       or flat: VIDEOS/v_Lunges_g01_c01.avi
    SPLITS/classInd.txt                      "1 ApplyEyeMakeup": labels from 1
    SPLITS/trainlist01.txt                   "Lunges/v_Lunges_g08_c01.avi 52"
    SPLITS/testlist01.txt                    "Lunges/v_Lunges_g01_c01.avi"

`classInd.txt` decides the classes: lists of a part of UCF-101 are fine. Labels count from 0 here.
Names are found in another case as well: copies have `v_HandstandPushups` for the lists'
`v_HandStandPushups`, whose class is `HandstandPushups`.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

from perfnet_tf.datasets.catalog import Catalog, find_lists, read_lines, refuse_missing
from perfnet_tf.datasets.official_counts import count_notes
from perfnet_tf.datasets.video_files import StrPath, VideoIndex, fold_name
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "ucf101"
) -> Catalog:
    """Reads UCF-101 or a dataset laid out like it.

    Args:
        videos: folder of the videos. For `synthetic` the folder that `generate_synthetic_dataset`
            wrote will do.
        splits: folder of the lists; None looks in `videos` and its `ucfTrainTestlist`.
        split: number of the lists.
        name: of the dataset.

    Returns:
        The clips of both lists. A clip's group is its class and `g01`: the clips of one group were
        cut from one video.

    Raises:
        InputError: a folder or list is missing, a line malformed, a class unknown, a clip listed
            twice, or a listed video not there.
    """
    videos = pathlib.Path(videos)
    if name == "synthetic" and splits is None and (videos / "splits").is_dir():
        videos, splits = videos / "videos", videos / "splits"
    index = VideoIndex(videos)
    lists = find_lists(
        videos, splits, archive="ucfTrainTestlist", marker="classInd.txt", dataset=name
    )
    classes = _read_classes(lists / "classInd.txt")
    labels = {class_name: label for label, class_name in enumerate(classes)}
    clips: list[SourceClip] = []
    missing: list[str] = []
    num_listed = 0
    for split_name, list_name in (("train", "trainlist"), ("test", "testlist")):
        path = lists / f"{list_name}{split:02}.txt"
        _check_exists(path, lists, split)
        for number, line in read_lines(path):
            num_listed += 1
            class_name, file_name = _parse_line(line, labels, f"{path}, line {number}")
            found = index.find(file_name, parents=(class_name,))
            if found is None:
                missing.append(f"{class_name}/{file_name}")
                continue
            stem = pathlib.PurePath(file_name).stem
            group = re.search(r"_(g\d+)_c\d+$", stem)
            clips.append(
                SourceClip(
                    clip_id=f"{class_name}/{stem}",
                    path=found,
                    label=labels[class_name],
                    label_name=class_name,
                    split=split_name,
                    group=f"{class_name}/{group[1]}" if group else None,
                )
            )
    refuse_missing(missing, num_listed, videos)
    catalog = Catalog(name, classes, tuple(clips), left_out=index.left_out)
    notes = (
        *count_notes(name, len(classes), catalog.clips_per_split, split),
        *index.note_unlisted({clip.path for clip in clips}),
    )
    return dataclasses.replace(catalog, notes=notes)


def _read_classes(path: pathlib.Path) -> tuple[str, ...]:
    by_number: dict[int, str] = {}
    for number, line in read_lines(path):
        words = line.split(maxsplit=1)
        if len(words) != 2 or not words[0].isdecimal():
            raise InputError(
                "A line of classInd.txt is NUMBER NAME. "
                f"Received: {line!r} ({path}, line {number})."
            )
        if int(words[0]) in by_number:
            raise InputError(f"{path} gives the number {words[0]} twice (line {number}).")
        by_number[int(words[0])] = words[1]
    classes = tuple(by_number[number] for number in sorted(by_number))
    if sorted(by_number) != list(range(1, len(classes) + 1)) or len(set(classes)) < len(classes):
        raise InputError(
            f"{path} must number different classes from 1 on without a gap. "
            f"Received: {len(classes)} classes, numbered {min(by_number, default=0)} to "
            f"{max(by_number, default=0)}."
        )
    return classes


def _parse_line(line: str, labels: dict[str, int], where: str) -> tuple[str, str]:
    """(class, file name) of a line `Class/file.avi` with or without a number after it."""
    match = re.fullmatch(r"([^/]+)/(.+?)(?:\s+(\d+))?", line.replace("\\", "/"))
    if not match:
        raise InputError(
            f"A line of a list is CLASS/FILE or CLASS/FILE LABEL. Received: {line!r} ({where})."
        )
    class_name, file_name, number = match.groups()
    if class_name not in labels:
        alike = [name for name in labels if fold_name(name) == fold_name(class_name)]
        class_name = alike[0] if len(alike) == 1 else class_name
    if class_name not in labels:
        raise InputError(
            f"A listed class must be in classInd.txt. Received: {class_name!r} ({where})."
        )
    if number is not None and int(number) != labels[class_name] + 1:
        raise InputError(
            f"{class_name} has the number {labels[class_name] + 1} in classInd.txt. "
            f"Received: {number} ({where})."
        )
    return class_name, file_name


def _check_exists(path: pathlib.Path, lists: pathlib.Path, split: int) -> None:
    if not path.exists():
        there = sorted(file.name for file in lists.glob("t*list*.txt"))
        raise InputError(
            f"split must be the number of a list. Received: {split}, but {lists} has no "
            f"{path.name}. It has: {', '.join(there) or 'no lists'}."
        )
