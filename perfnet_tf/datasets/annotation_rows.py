"""The lines of annotation lists; `annotation_list` describes them."""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perfnet_tf.datasets.catalog import read_lines, read_table
from perfnet_tf.datasets.split_names import SPLIT_NAMES
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError, check_choice

_COLUMNS = ("path", "label", "start", "end", "split", "group")
_INTEGER = re.compile(r"-?\d+")


@dataclass(frozen=True)
class ListRow:
    """A line: what `SourceClip` has of it, as text or numbers.

    Attributes:
        where: file and line, for messages.
        path: as listed.
        labels: names or numbers, as listed; at least one.
        split, group: empty where the line states none.
        start, end, first_frame, num_frames: as in `SourceClip`.
    """

    where: str
    path: str
    labels: tuple[str, ...]
    split: str = ""
    group: str = ""
    start: float | None = None
    end: float | None = None
    first_frame: int | None = None
    num_frames: int | None = None


def read_rows(
    path: pathlib.Path, index: VideoIndex, label_separator: str | None = None
) -> list[ListRow]:
    """The lines of a list.

    Args:
        path: the list.
        index: the videos, or folders of pictures, to tell one form of lines from another.
        label_separator: between several labels in a cell of a list with a header; None: a clip has
            one label.

    Raises:
        InputError: a malformed line.
    """
    lines = list(read_lines(path))
    if not lines:
        return []
    if {"path", "label"} <= {word.strip() for word in re.split("[,;\t]", lines[0][1].lower())}:
        return list(_read_headed(path, label_separator))
    several = label_separator is not None
    if all("," in line for _, line in lines):
        return _read_commas(path, lines, several=several)
    return _read_blanks(path, lines, index, several=several)


def _read_headed(path: pathlib.Path, separator: str | None) -> Iterator[ListRow]:
    columns, rows = read_table(path)
    wrong = set(columns) - set(_COLUMNS)
    if wrong or not {"path", "label"} <= set(columns) or ("start" in columns) != ("end" in columns):
        raise InputError(
            "A list has the columns path, label, and, if wanted, start and end, split, group. "
            f"Received: {', '.join(columns)} ({path})."
        )
    for where, values in rows:
        split = values.get("split", "").lower()
        if split:
            check_choice(f"split ({where})", split, SPLIT_NAMES)
        start, end = _seconds(values.get("start", ""), values.get("end", ""), where)
        yield ListRow(
            where,
            values["path"],
            _labels(
                [values["label"]] if separator is None else values["label"].split(separator), where
            ),
            SPLIT_NAMES.get(split, ""),
            values.get("group", ""),
            start,
            end,
        )


def _read_commas(
    path: pathlib.Path, lines: Sequence[tuple[int, str]], *, several: bool
) -> list[ListRow]:
    rows = []
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = [field.strip() for field in next(csv.reader([line], skipinitialspace=True))]
        if len(fields) == 2 or several:
            rows.append(ListRow(where, fields[0], _labels(fields[1:], where)))
        elif len(fields) == 3 and _INTEGER.fullmatch(fields[1]):
            count = _count(fields[1], where)
            labels = _labels(fields[2:], where)
            rows.append(ListRow(where, fields[0], labels, first_frame=0, num_frames=count))
        elif len(fields) == 4:
            start, end = _seconds(fields[1], fields[2], where)
            labels = _labels(fields[3:], where)
            rows.append(ListRow(where, fields[0], labels, start=start, end=end))
        else:
            raise InputError(
                "A line with commas is path,label or path,start,end,label; other columns need a "
                f"header. Received: {line!r} ({where})."
            )
    return rows


def _read_blanks(
    path: pathlib.Path, lines: Sequence[tuple[int, str]], index: VideoIndex, *, several: bool
) -> list[ListRow]:
    """`path label` for videos, and for folders of pictures also with one or two counts."""
    if several:
        return list(_read_several(path, lines, index))
    trailing = min(_num_trailing(line) for _, line in lines)
    num_fields = max(1, min(3, trailing)) if index.of_frames else 1
    rows = []
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = line.rsplit(None, num_fields)
        if len(fields) <= num_fields:
            raise InputError(
                "A line is PATH LABEL; for folders of pictures PATH FRAMES LABEL or PATH FIRST "
                f"FRAMES LABEL. Received: {line!r} ({where})."
            )
        if _num_trailing(line) > num_fields and not index.locate(fields[0]):
            raise InputError(
                f"A clip has one label. Received: {line!r} ({where}). Lists of several labels need "
                "`label_separator`, and lists with numbers of frames are for folders of pictures."
            )
        row = ListRow(where, fields[0], _labels(fields[-1:], where))
        counts = [_count(field, where) for field in fields[1:-1]]
        if counts:
            first = counts[0] if len(counts) > 1 else 0
            row = dataclasses.replace(row, first_frame=first, num_frames=counts[-1])
        rows.append(row)
    return rows


def _read_several(
    path: pathlib.Path, lines: Sequence[tuple[int, str]], index: VideoIndex
) -> Iterator[ListRow]:
    """`path label label ...` for videos, `path frames label ...` for folders of pictures."""
    counts = int(index.of_frames)
    for number, line in lines:
        where = f"{path}, line {number}"
        fields = line.split()
        if len(fields) < 2 + counts:
            form = "PATH FRAMES LABEL ..." if counts else "PATH LABEL LABEL ..."
            raise InputError(f"A line is {form}. Received: {line!r} ({where}).")
        row = ListRow(where, fields[0], _labels(fields[1 + counts :], where))
        if counts:
            frames = _count(fields[1], where)
            row = dataclasses.replace(row, first_frame=0, num_frames=frames)
        yield row


def _num_trailing(line: str) -> int:
    """Whole numbers at the end of a line, after the first field."""
    fields = line.split()[1:]
    numbers = 0
    while numbers < len(fields) and _INTEGER.fullmatch(fields[-1 - numbers]):
        numbers += 1
    return numbers


def _labels(texts: Sequence[str], where: str) -> tuple[str, ...]:
    names = tuple(text.strip() for text in texts)
    for text in names:
        if not text or text.startswith("-") and text[1:].isdecimal():
            raise InputError(f"Every video has a label. Received: {text or 'none'} ({where}).")
    return names


def _count(text: str, where: str) -> int:
    if not text.isdecimal():
        raise InputError(f"A count of frames is a whole number. Received: {text!r} ({where}).")
    return int(text)


def _seconds(start: str, end: str, where: str) -> tuple[float | None, float | None]:
    if not start and not end:
        return None, None
    try:
        first, last = float(start), float(end)
    except ValueError:
        first = last = -1.0
    if not 0 <= first < last < math.inf:
        raise InputError(
            "A segment is from START to END seconds, START before END. Received: "
            f"{start!r} and {end!r} ({where})."
        )
    return first, last
