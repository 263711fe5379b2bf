"""Reads the split list of a folder of videos: which are used, in which split, as which class."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.datasets.catalog import read_table
from perfnet_tf.datasets.split_names import SPLIT_NAMES, name_splits
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError, check_choice

_COLUMNS = {"path", "split", "label", "group"}


@dataclass(frozen=True)
class SplitList:
    """What a split list says.

    Attributes:
        rows: (path relative to the folder, split or None, class) of each listed video.
        groups: path -> stated group, for videos with one.
        notes: what a user should know, a sentence each.
    """

    rows: Sequence[tuple[pathlib.PurePath, str | None, str]]
    groups: Mapping[pathlib.PurePath, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_split_list(index: VideoIndex, path: pathlib.Path) -> SplitList:
    """Reads a list with the columns path, split or group or both, and label if wanted.

    Args:
        index: the videos.
        path: the list.

    Raises:
        InputError: another table, an unknown split, a path that is not in the folder, or a video
            with two classes or in two splits.
    """
    columns, lines = read_table(path)
    if (
        "path" not in columns
        or not {"split", "group"} & set(columns)
        or set(columns) - _COLUMNS
        or len(set(columns)) < len(columns)
    ):
        raise InputError(
            "A split list has the columns path, split or group or both, and, if wanted, label. "
            f"Received: {', '.join(columns) or 'nothing'} ({path})."
        )
    listed = _Rows(index, path)
    for where, values in lines:
        if "split" in columns:
            check_choice(f"split ({where})", values["split"].lower(), SPLIT_NAMES)
        listed.add(values, where)
    return listed.finish()


class _Rows:
    """The rows of a list, collected one by one."""

    def __init__(self, index: VideoIndex, path: pathlib.Path) -> None:
        self._index = index
        self._path = path
        #: Path -> (name of the split, "" without the column; class; where it was read).
        self._rows: dict[pathlib.PurePath, tuple[str, str, str]] = {}
        self._groups: dict[pathlib.PurePath, str] = {}
        self._missing: list[str] = []
        self._repeats = 0

    def add(self, values: Mapping[str, str], where: str) -> None:
        """Adds a line."""
        text, label, split = values["path"], values.get("label"), values.get("split", "").lower()
        file = self._index.locate(text)
        if not label and len((file or pathlib.PurePath(text.replace("\\", "/"))).parts) < 2:
            raise InputError(
                "A video without a label must be in a class folder. "
                f"Received: {text!r} ({where}). Add a label column."
            )
        if file is None:
            self._missing.append(text)
            return
        label = label or file.parts[0]
        if file in self._rows:
            known_split, known_label, before = self._rows[file]
            if known_label != label:
                raise InputError(
                    f"A video has one class. Received: {file} as {known_label!r} ({before}) and "
                    f"as {label!r} ({where}). Remove one of the lines."
                )
            if known_split != split or self._groups.get(file, "") != values.get("group", ""):
                raise InputError(
                    "A clip must be listed once, in one split and one group. Received: "
                    f"{file} ({before}) and again ({where}). Remove one of the lines."
                )
            self._repeats += 1
            return
        self._rows[file] = (split, label, where)
        if values.get("group"):
            self._groups[file] = values["group"]

    def finish(self) -> SplitList:
        """The rows, once every line was added."""
        self._refuse_missing()
        if not self._rows:
            raise InputError(
                f"A split list must name videos. Received: {self._path}, which names none."
            )
        splits = name_splits({split for split, _, _ in self._rows.values()})
        notes = list(self._index.note_unlisted({self._index.path_of(file) for file in self._rows}))
        if self._repeats:
            notes.append(f"{self._repeats} lines of {self._path.name} repeat another.")
        return SplitList(
            [(file, splits.get(split), label) for file, (split, label, _) in self._rows.items()],
            self._groups,
            tuple(notes),
        )

    def _refuse_missing(self) -> None:
        if not self._missing:
            return
        first, folder = self._missing[0], self._index.folder
        remedy = "Unpack them, or take them off the list."
        parts = pathlib.PurePath(first.replace("\\", "/")).parts
        for start in range(1, len(parts)):
            tail = pathlib.PurePath(*parts[start:])
            if tail in self._index.files:
                remedy = (
                    f"Paths are relative to that folder, in which {tail} is: take what is before "
                    f"{tail} off the paths."
                )
                break
        raise InputError(
            f"Every listed video must be there. Received: {folder}, which lacks "
            f"{len(self._missing)} of {len(self._rows) + len(self._missing)}, the first being "
            f"{first}. {remedy}"
        )
