"""Kinetics 400, 600 and 700, by the official CSV files.

    VIDEOS/abseiling/yq_M1PMw2hY_000038_000048.mp4     or flat, or below train/ and val/
    SPLITS/kinetics-600_val.csv                        label,youtube_id,time_start,time_end,split

Clips vanish from the web all the time, so a listed clip may be missing: it is counted in
`Catalog.missing`. The official test lists of some editions have no labels and are left out.
"""

from __future__ import annotations

import collections
import pathlib
import re
from dataclasses import dataclass

from perfnet_tf.classes import read_class_names
from perfnet_tf.datasets.catalog import Catalog, StrPath, VideoIndex, find_lists, read_table
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.records.schema import SPLITS, SourceClip

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_SPLITS = {"train": "train", "val": "val", "validate": "val", "validation": "val", "test": "test"}
_EDITIONS = {"400", "600", "700"}
#: Class names of each edition, in alphabetical order. Source: DeepMind, CC BY 4.0.
_LABELS = pathlib.Path(__file__).with_name("labels")


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "kinetics600"
) -> Catalog:
    """Reads an edition of Kinetics.

    Args:
        videos: folder of the clips, in class folders, split folders, or flat. A clip's file is
            called `ID_START_END` (seconds in six digits), or `ID` alone.
        splits: folder of the CSV files, or one CSV file; None looks in `videos`. Files with the
            number of another edition in their name are left out.
        split: ignored; Kinetics has one split.
        name: `kinetics400`, `kinetics600` or `kinetics700`.

    Returns:
        The clips that are there. The classes are all labels of the lists, in alphabetical order,
        which is the order of the published label maps. A clip's group is its YouTube id.

    Raises:
        InputError: a folder or list is missing, a line malformed, a clip listed twice, or not one
            listed clip is there.
    """
    del split
    index = VideoIndex(videos)
    rows: list[_Row] = []
    notes: list[str] = []
    for path in _list_files(videos, splits, name):
        columns, lines = read_table(path)
        absent = [column for column in _COLUMNS if column not in columns]
        if absent:
            raise InputError(
                f"A Kinetics list has the columns label, {', '.join(_COLUMNS)}. "
                f"Received: {path}, which lacks {', '.join(absent)}."
            )
        if "label" in columns:
            rows += (_parse_row(values, where) for where, values in lines)
        else:
            notes.append(f"{path.name} has no labels and was left out.")
    if len(set(rows)) < len(rows):
        notes.append(f"{len(rows) - len(set(rows))} lines repeat another and were left out.")
        rows = list(dict.fromkeys(rows))
    if not rows:
        raise InputError(
            f"{name} needs a list with labels. Received: {' '.join(notes) or 'empty lists.'}"
        )
    classes = tuple(sorted({row.label for row in rows}))
    labels = {label: number for number, label in enumerate(classes)}
    clips: list[SourceClip] = []
    missing: dict[str, str] = {}
    for row in rows:
        clip_id = f"{row.label}/{row.file_stem}"
        video = _find(index, row)
        if video is None:
            missing[clip_id] = row.split
            continue
        clips.append(
            SourceClip(
                clip_id=clip_id,
                path=video,
                label=labels[row.label],
                label_name=row.label,
                split=row.split,
                group=row.youtube_id,
            )
        )
    if not clips:
        raise InputError(
            f"No listed clip is there. Received: {videos} and {len(rows)} listed clips, the first "
            f"being {rows[0].file_stem}.mp4. Check the folder, and that `dataset` is {name}."
        )
    if missing:
        listed = collections.Counter(row.split for row in rows)
        gone = collections.Counter(missing.values())
        parts = [f"{name} {gone[name]} of {listed[name]}" for name in SPLITS if listed[name]]
        notes.append(
            f"{len(missing)} of {len(rows)} listed clips are not there ({', '.join(parts)}): "
            "state this number next to any accuracy."
        )
    return Catalog(name, classes, tuple(clips), missing, tuple(notes))


def read_published_classes(name: str) -> tuple[str, ...]:
    """The class names of an edition, in alphabetical order, which published networks have.

    Args:
        name: `kinetics400`, `kinetics600` or `kinetics700`.

    Raises:
        InputError: another name.
    """
    check_choice("name", name, sorted(f"kinetics{edition}" for edition in _EDITIONS))
    return read_class_names(_LABELS / f"{name}.txt")


@dataclass(frozen=True)
class _Row:
    label: str
    youtube_id: str
    start: int
    end: int
    split: str

    @property
    def file_stem(self) -> str:
        return f"{self.youtube_id}_{self.start:06}_{self.end:06}"


def _list_files(videos: StrPath, splits: StrPath | None, name: str) -> list[pathlib.Path]:
    if splits is not None and pathlib.Path(splits).is_file():
        return [pathlib.Path(splits)]
    folder = find_lists(videos, splits, archive="annotations", marker="*.csv", dataset=name)
    edition = name.removeprefix("kinetics")
    paths = []
    for path in sorted(folder.glob("*.csv")):
        stated = _EDITIONS & set(re.findall(r"\d+", path.name))
        if not path.name.startswith(".") and (not stated or edition in stated):
            paths.append(path)
    if not paths:
        raise InputError(
            f"{name} needs its lists. Received: {folder}, whose CSV files are of other editions."
        )
    return paths


def _parse_row(values: dict[str, str], where: str) -> _Row:
    check_choice(f"split ({where})", values["split"], _SPLITS)
    try:
        start, end = (int(float(values[column])) for column in ("time_start", "time_end"))
    except (ValueError, OverflowError):
        raise InputError(
            "time_start and time_end are seconds. "
            f"Received: {values['time_start']!r} and {values['time_end']!r} ({where})."
        ) from None
    if not values["label"] or not values["youtube_id"]:
        raise InputError(
            f"A clip needs a label and a YouTube id. Received: one is empty ({where})."
        )
    return _Row(values["label"], values["youtube_id"], start, end, _SPLITS[values["split"]])


def _find(index: VideoIndex, row: _Row) -> str | None:
    folders = {row.label, row.label.replace(" ", "_")}
    for stem in (row.file_stem, row.youtube_id):
        # In the class's folder if it is there: some ids are listed under two labels.
        path = index.find(f"{stem}.mp4", parents=folders) or index.find(f"{stem}.mp4")
        if path is not None:
            return path
    return None
