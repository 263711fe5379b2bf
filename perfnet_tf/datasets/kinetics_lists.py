"""The lists of Kinetics: the official CSV files, and text lists that copies come with.

label,youtube_id,time_start,time_end,split       kinetics-600_val.csv, with this first line
abseiling,yq_M1PMw2hY,38,48                      val.txt: the same without it, the split by name
val/abseiling/yq_M1PMw2hY_000038_000048.mp4      or paths of the videos in their class folders
"""

from __future__ import annotations

import csv
import pathlib
import re
from dataclasses import dataclass

from perfnet_tf.classes import read_class_names
from perfnet_tf.datasets.catalog import find_lists, read_lines, read_table
from perfnet_tf.datasets.split_names import SPLIT_NAMES
from perfnet_tf.datasets.video_files import StrPath, video_stem
from perfnet_tf.errors import InputError, check_choice

_COLUMNS = ("youtube_id", "time_start", "time_end", "split")
_EDITIONS = {"400", "600", "700"}
#: Class names of each edition, in alphabetical order. Source: DeepMind, CC BY 4.0.
_LABELS = pathlib.Path(__file__).with_name("labels")
#: Text lists next to CSV files. The copy of Kinetics-600 by CVDF, which hosts the videos, has
#: complete ones, and CSV files that lack half of the clips (its README says so).
_TEXT_LISTS = tuple(f"{name}.txt" for name in ("train", "val", "validate", "validation", "test"))
#: ID_START_END, in seconds; crawlers differ in digits.
_STEM = re.compile(r"(.+)_(\d+)(?:\.\d+)?_(\d+)(?:\.\d+)?")


@dataclass(frozen=True)
class ListedClip:
    """A line of a list; `start` and `end` in seconds."""

    label: str
    youtube_id: str
    start: int
    end: int
    split: str

    @property
    def file_stem(self) -> str:
        """The official name of its file, without the extension."""
        return f"{self.youtube_id}_{self.start:06}_{self.end:06}"


def read_kinetics_lists(
    videos: StrPath, splits: StrPath | None, name: str
) -> tuple[list[ListedClip], list[str]]:
    """Reads all lists of an edition.

    Args:
        videos, splits, name: as in `kinetics.read_catalog`.

    Returns:
        The listed clips, each once, and notes, a sentence each.

    Raises:
        InputError: no list, or a malformed one.
    """
    rows: list[ListedClip] = []
    texts: dict[str, list[ListedClip]] = {}
    notes: list[str] = []
    for path in _list_files(videos, splits, name):
        if path.suffix.lower() == ".txt":
            read = _read_text_list(path, name)
            if read is None:
                notes.append(f"{path.name} is no list of labelled clips and was left out.")
            else:
                texts[path.name] = read
            continue
        columns, lines = read_table(path)
        absent = [column for column in _COLUMNS if column not in columns]
        if absent and "holdout" in path.name:
            notes.append(f"{path.name} has other columns and was left out.")
        elif absent:
            raise InputError(
                f"A Kinetics list has the columns label, {', '.join(_COLUMNS)}. "
                f"Received: {path}, which lacks {', '.join(absent)}."
            )
        elif "label" in columns:
            rows += (_parse_row(values, where) for where, values in lines)
        else:
            notes.append(f"{path.name} has no labels and was left out.")
    if len(set(rows)) < len(rows):
        notes.append(f"{len(rows) - len(set(rows))} lines repeat another and were left out.")
    merged = dict.fromkeys(rows)
    for list_name, more in texts.items():
        added = dict.fromkeys(more).keys() - merged.keys()
        if rows and added:
            notes.append(f"{list_name} has {len(added)} clips that no CSV file has.")
        merged |= dict.fromkeys(more)
    if not merged:
        raise InputError(
            f"{name} needs a list with labels. Received: {' '.join(notes) or 'empty lists.'}"
        )
    return list(merged), notes


def read_published_classes(name: str) -> tuple[str, ...]:
    """The class names of an edition, in alphabetical order, which published networks have.

    Args:
        name: `kinetics400`, `kinetics600` or `kinetics700`.

    Raises:
        InputError: another name.
    """
    check_choice("name", name, sorted(f"kinetics{edition}" for edition in _EDITIONS))
    return read_class_names(_LABELS / f"{name}.txt")


def parse_stem(file_name: str) -> tuple[str, int, int] | None:
    """(YouTube id, start, end) of a file called `ID_START_END` in any digits, or None."""
    match = _STEM.fullmatch(video_stem(file_name))
    return (match[1], int(match[2]), int(match[3])) if match else None


def label_key(label: str) -> str:
    """What a label and its folder's name share: copies drop spaces, brackets and apostrophes."""
    return "".join(letter for letter in label.casefold() if letter.isalnum())


def _list_files(videos: StrPath, splits: StrPath | None, name: str) -> list[pathlib.Path]:
    if splits is not None and pathlib.Path(splits).is_file():
        return [pathlib.Path(splits)]
    folder = find_lists(
        videos, splits, archive="annotations", marker="*.csv", dataset=name, others=_TEXT_LISTS
    )
    edition = name.removeprefix("kinetics")
    paths = []
    for path in sorted(folder.glob("*.csv")):
        stated = _EDITIONS & set(re.findall(r"\d+", path.name))
        if not path.name.startswith(".") and (not stated or edition in stated):
            paths.append(path)
    paths += [folder / text for text in _TEXT_LISTS if (folder / text).is_file()]
    if not paths:
        raise InputError(
            f"{name} needs its lists. Received: {folder}, whose CSV files are of other editions."
        )
    return paths


def _read_text_list(path: pathlib.Path, name: str) -> list[ListedClip] | None:
    """The clips of a text list; None if its first line is none of the forms."""
    lines = list(read_lines(path))
    words = re.split("[^a-z]+", path.stem.lower())
    split = next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), None)
    if lines and "youtube_id" in lines[0][1]:
        columns, rows = read_table(path)
        stated = {} if split is None else {"split": split}
        if not {"label", *_COLUMNS} <= {*columns, *stated}:
            return None
        return [_parse_row({**stated, **values}, where) for where, values in rows]
    labels = {label_key(label): label for label in read_published_classes(name)}
    clips: list[ListedClip] = []
    for number, line in lines:
        clip = _parse_fields(line, split) or _parse_path(line, split, labels)
        if clip is None and not clips:
            return None
        if clip is None:
            raise InputError(
                "A line of a text list of Kinetics is label,youtube_id,time_start,time_end or "
                f"CLASS/ID_START_END.mp4. Received: {line!r} ({path}, line {number})."
            )
        clips.append(clip)
    return clips


def _parse_fields(line: str, split: str | None) -> ListedClip | None:
    """A clip of the fields of a CSV file in their order; the split may be left out."""
    delimiter = "\t" if "\t" in line else ","
    try:
        ((label, youtube_id, *times), *_) = csv.reader([line], delimiter=delimiter)
        start, end = (int(float(time)) for time in times[:2])
    except (ValueError, OverflowError, csv.Error):
        return None
    stated = SPLIT_NAMES.get(times[2].strip().lower()) if len(times) > 2 else split
    if not label.strip() or not youtube_id.strip() or stated is None:
        return None
    return ListedClip(label.strip(), youtube_id.strip(), start, end, stated)


def _parse_path(line: str, split: str | None, labels: dict[str, str]) -> ListedClip | None:
    """A clip of its path, whose folder is one of `labels`; a number may follow."""
    path = pathlib.PurePosixPath(re.sub(r"\s+\d+$", "", line).replace("\\", "/"))
    stem, label = parse_stem(path.name), labels.get(label_key(path.parent.name))
    if stem is None or label is None or split is None:
        return None
    return ListedClip(label, *stem, split)


def _parse_row(values: dict[str, str], where: str) -> ListedClip:
    check_choice(f"split ({where})", values["split"], SPLIT_NAMES)
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
    return ListedClip(
        values["label"], values["youtube_id"], start, end, SPLIT_NAMES[values["split"]]
    )
