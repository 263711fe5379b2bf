"""HMDB-51 (Kuehne et al. 2011), by its official lists.

    VIDEOS/brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0.avi     or flat
    SPLITS/brush_hair_test_split1.txt     "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1 "

A list gives each clip of a class 1 (train), 2 (test) or 0 (unused). The classes are those that
have a list, in alphabetical order.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re

from perfnet_tf.datasets.catalog import Catalog, find_lists, read_lines, refuse_missing
from perfnet_tf.datasets.official_counts import count_notes
from perfnet_tf.datasets.video_files import StrPath, VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip

_SPLITS = {"0": None, "1": "train", "2": "test"}


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "hmdb51"
) -> Catalog:
    """Reads HMDB-51 or a part of it.

    Args:
        videos: folder of the unpacked videos.
        splits: folder of the lists; None looks in `videos` and its `testTrainMulti_7030_splits`.
        split: 1, 2 or 3.
        name: of the dataset.

    Returns:
        The clips to train on and to test on; unused ones are left out. A clip's group is the part
        of its name that says what film it was cut from.

    Raises:
        InputError: a folder or list is missing, a line malformed, a clip listed twice, or a listed
            video not there.
    """
    index = VideoIndex(videos)
    suffix = f"_test_split{split}.txt"
    lists = find_lists(
        videos, splits, archive="testTrainMulti_7030_splits", marker=f"*{suffix}", dataset=name
    )
    # Hidden files: the Mac's shadow copies ("._x") come with some archives.
    names = [path.name for path in lists.glob(f"*{suffix}") if not path.name.startswith(".")]
    # Sorted as classes: as file names, climb_stairs_test comes before climb_test.
    classes = tuple(sorted(name.removesuffix(suffix) for name in names))
    clips: list[SourceClip] = []
    missing: list[str] = []
    num_listed = 0
    listed: set[str] = set()
    for label, class_name in enumerate(classes):
        path = lists / f"{class_name}{suffix}"
        for number, line in read_lines(path):
            file_name, split_name = _parse_line(line, f"{path}, line {number}")
            found = index.find(file_name, parents=(class_name,))
            if found is not None:
                listed.add(found)
            if split_name is None:
                continue
            num_listed += 1
            if found is None:
                missing.append(f"{class_name}/{file_name}")
                continue
            stem = pathlib.PurePath(file_name).stem
            clips.append(
                SourceClip(
                    clip_id=f"{class_name}/{stem}",
                    path=found,
                    label=label,
                    label_name=class_name,
                    split=split_name,
                    group=film_name(stem, class_name),
                )
            )
    refuse_missing(missing, num_listed, videos)
    catalog = Catalog(name, classes, tuple(clips), left_out=index.left_out)
    notes = (
        *count_notes(name, len(classes), catalog.clips_per_split, split),
        *index.note_unlisted(listed),
    )
    return dataclasses.replace(catalog, notes=notes)


def _parse_line(line: str, where: str) -> tuple[str, str | None]:
    """(file name, split or None if unused)."""
    words = line.rsplit(maxsplit=1)
    if len(words) != 2 or words[1] not in _SPLITS:
        raise InputError(
            "A line of an HMDB-51 list is FILE and 0 (unused), 1 (train) or 2 (test). "
            f"Received: {line!r} ({where})."
        )
    return words[0], _SPLITS[words[1]]


def film_name(stem: str, class_name: str) -> str | None:
    """`CLASS/FILM` of a clip called `stem`, or None if the name is of another form."""
    # NAME_CLASS_visible-parts_camera_people_direction_quality_NUMBER
    tail = rf"_{re.escape(class_name)}_[a-z]_[a-z]+_np\d+_[a-z]+_[a-z]+_\d+$"
    match = re.search(tail, stem)
    return f"{class_name}/{stem[: match.start()]}" if match else None
