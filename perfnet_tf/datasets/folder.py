"""A folder of your own videos, one folder per class.

    VIDEOS/wave/anna_01.mp4            the split is drawn (below), or listed in VIDEOS/splits.csv
    VIDEOS/train/wave/anna_01.mp4      the split is the folder: train, val, test

`splits.csv` (or any CSV given as `splits`) has a line for each video that is to be used:

    path,split,label,group             `label` may be left out: it is then the first folder of path
    wave/anna_01.mp4,train,wave,anna   `group` as well: it is then the name without its last number

Clips of one group come from one recording, and may not be in two splits. With `group` and without
`split` the split is drawn, by these groups.

Without a list and without split folders, about 30 % of each class is drawn for the test (HMDB-51
has 30, UCF-101 28), whole groups at a time. The files of a class whose names differ only in the
number at the end (`anna_01`, `anna_02`; `g01_c01`, `g01_c02`; `part1`, `part2`) are one group: they
are likely cut from one recording, and a test on a recording that was trained on says nothing. A
class in which that makes one single group is drawn file by file, and a note says so. The draw
depends on the names and the number of the split only: the same files always give the same split.
"""

from __future__ import annotations

import collections
import hashlib
import pathlib
import re
from collections.abc import Mapping, Sequence

from perfnet_tf.datasets.catalog import Catalog, StrPath, VideoIndex, read_table, refuse_missing
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.records.schema import SourceClip

#: Share of each class's videos that is drawn for the test.
TEST_SHARE = 0.3

LIST_NAME = "splits.csv"
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# The number of a clip at the end of a name: "_c01", "-part2", " 3", or Kinetics' "_START_END".
_CLIP_NUMBER = re.compile(
    r"(_\d{6}_\d{6}|[_\-. ]+(c|clip|cut|part|scene|seg|segment|shot|take)?[_\-. ]?\d+)$", re.I
)


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "folder"
) -> Catalog:
    """Reads a folder of videos, as the module describes.

    Args:
        videos: the folder.
        splits: a CSV file, or a folder with `splits.csv`; None looks in `videos`.
        split: which random split, where one is drawn.
        name: of the dataset.

    Returns:
        The clips, sorted by id: the path without its extension. Classes are in alphabetical order.

    Raises:
        InputError: the folder is missing or empty, a video is in no class folder, two have the
            same id, or the CSV is malformed or names a video that is not there.
    """
    videos = pathlib.Path(videos)
    index = VideoIndex(videos)
    list_path = _find_list(videos, splits)
    if list_path is not None:
        return _read_listed(index, list_path, split, name)
    tops = {file.parts[0] for file in index.files}
    if "train" in {_SPLITS.get(top) for top in tops} and tops <= set(_SPLITS):
        return _read_split_folders(index, name)
    return _draw_splits(index, split, name)


def _read_listed(index: VideoIndex, path: pathlib.Path, split: int, name: str) -> Catalog:
    columns, lines = read_table(path)
    known = {"path", "split", "label", "group"}
    if "path" not in columns or not {"split", "group"} & set(columns) or set(columns) - known:
        raise InputError(
            "A split list has the columns path, split or group or both, and, if wanted, label. "
            f"Received: {', '.join(columns) or 'nothing'} ({path})."
        )
    rows: list[tuple[pathlib.PurePath, str, str]] = []
    missing: list[str] = []
    groups: dict[pathlib.PurePath, str] = {}
    there = set(index.files)
    for where, values in lines:
        stated = values.get("split", "train").lower()
        check_choice(f"split ({where})", stated, _SPLITS)
        listed = pathlib.PurePath(values["path"])
        label = values.get("label")
        if not label and len(listed.parts) < 2:
            raise InputError(
                "A video without a label must lie in a class folder. "
                f"Received: {values['path']!r} ({where}). Add a label column."
            )
        if listed in there:
            rows.append((listed, _SPLITS[stated], label or listed.parts[0]))
            if values.get("group"):
                groups[listed] = values["group"]
        else:
            missing.append(str(listed))
    refuse_missing(missing, len(rows) + len(missing), index.folder)
    if not rows:
        raise InputError(f"A split list must name videos. Received: {path}, which names none.")
    notes: list[str] = []
    if "split" not in columns:
        groups = {file: groups.get(file) or group_name(file) for file, _, _ in rows}
        rows, notes = _draw_listed(rows, groups, split)
    _refuse_torn_groups(rows, groups, path)
    return _make_catalog(index, rows, name, groups, notes)


def _draw_listed(
    rows: Sequence[tuple[pathlib.PurePath, str, str]],
    groups: Mapping[pathlib.PurePath, str],
    split: int,
) -> tuple[list[tuple[pathlib.PurePath, str, str]], list[str]]:
    """The rows with a drawn split, class by class; a group of several classes stays together."""
    of_group: dict[str, str] = {}  # group -> split
    by_label: dict[str, dict[str, list[pathlib.PurePath]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    for file, _, label in rows:
        by_label[label][groups[file]].append(file)
    untested = []
    for label, by_group in sorted(by_label.items()):
        test = _draw_test(by_group, salt=str(split))
        if not test:
            untested.append(label)
        for group, files in by_group.items():
            of_group.setdefault(group, "test" if files[0] in test else "train")
    notes = [f"About {TEST_SHARE:.0%} of each class was drawn for the test (split {split})."]
    if untested:
        notes.append(f"One group, so none in the test: {', '.join(untested)}.")
    return [(file, of_group[groups[file]], label) for file, _, label in rows], notes


def _refuse_torn_groups(
    rows: Sequence[tuple[pathlib.PurePath, str, str]],
    groups: Mapping[pathlib.PurePath, str],
    path: pathlib.Path,
) -> None:
    first: dict[str, str] = {}
    for file, split, _ in rows:
        group = groups.get(file)
        if group is not None and first.setdefault(group, split) != split:
            raise InputError(
                "A group may not be in two splits: its clips come from one recording. Received: "
                f"{group!r} in {first[group]} and in {split} ({path})."
            )


def _read_split_folders(index: VideoIndex, name: str) -> Catalog:
    _refuse_outside(index, depth=3, rule="SPLIT/CLASS/FILE")
    rows = [(file, _SPLITS[file.parts[0]], file.parts[1]) for file in index.files]
    return _make_catalog(index, rows, name)


def _draw_splits(index: VideoIndex, split: int, name: str) -> Catalog:
    _refuse_outside(index, depth=2, rule="CLASS/FILE")
    by_class: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
    for file in index.files:
        by_class[file.parts[0]].append(file)
    rows: list[tuple[pathlib.PurePath, str, str]] = []
    groups: dict[pathlib.PurePath, str] = {}
    ungrouped: list[str] = []
    untested: list[str] = []
    for class_name, files in by_class.items():
        by_group: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
        for file in files:
            by_group[group_name(file)].append(file)
        if len(by_group) > 1:
            groups.update({file: group for group, some in by_group.items() for file in some})
        else:
            by_group = {str(file): [file] for file in files}
            (ungrouped if len(files) > 1 else untested).append(class_name)
        test = _draw_test(by_group, salt=str(split))
        rows += [(file, "test" if file in test else "train", class_name) for file in files]
    notes = [f"About {TEST_SHARE:.0%} of each class was drawn for the test (split {split})."]
    if ungrouped:
        notes.append(
            "File by file, as the names say nothing about what was cut from one recording: "
            f"{', '.join(ungrouped)}. If clips of one recording are among them, accuracies will "
            f"be too high: write a {LIST_NAME}."
        )
    if untested:
        notes.append(f"One video, so none in the test: {', '.join(untested)}.")
    return _make_catalog(index, rows, name, groups, notes)


def group_name(file: pathlib.PurePath) -> str:
    """The file's path without extension and without the number of the clip at the end."""
    stem = file.with_suffix("")
    return str(stem.with_name(_CLIP_NUMBER.sub("", stem.name) or stem.name))


def _draw_test(
    groups: Mapping[str, Sequence[pathlib.PurePath]], *, salt: str
) -> set[pathlib.PurePath]:
    """Whole groups, up to `TEST_SHARE` of the files; at least one group, never all."""
    if len(groups) < 2:
        return set()
    order = sorted(groups, key=lambda g: hashlib.sha256(f"{salt}/{g}".encode()).digest())
    wanted = max(1, round(TEST_SHARE * sum(map(len, groups.values()))))
    test: set[pathlib.PurePath] = set()
    for group in order:
        if len(test) + len(groups[group]) <= wanted:
            test.update(groups[group])
    return test or set(groups[min(order, key=lambda group: len(groups[group]))])


def _make_catalog(
    index: VideoIndex,
    rows: Sequence[tuple[pathlib.PurePath, str, str]],
    name: str,
    groups: Mapping[pathlib.PurePath, str] | None = None,
    notes: Sequence[str] = (),
) -> Catalog:
    """Makes clips of (path in the folder, split, class)."""
    classes = tuple(sorted({label for _, _, label in rows}))
    labels = {label: number for number, label in enumerate(classes)}
    clips = [
        SourceClip(
            clip_id=str(file.with_suffix("")),
            path=index.path_of(file),
            label=labels[label],
            label_name=label,
            split=split,
            group=(groups or {}).get(file),
        )
        for file, split, label in rows
    ]
    untrained = sorted(set(classes) - {clip.label_name for clip in clips if clip.split == "train"})
    if untrained:
        notes = [*notes, f"Without a video to train on: {', '.join(untrained)}."]
    clips.sort(key=lambda clip: clip.clip_id)
    return Catalog(name, classes, tuple(clips), notes=tuple(notes))


def _find_list(videos: pathlib.Path, splits: StrPath | None) -> pathlib.Path | None:
    if splits is None:
        path = videos / LIST_NAME
        return path if path.is_file() else None
    path = pathlib.Path(splits)
    path = path / LIST_NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"splits must be a CSV file, or a folder with {LIST_NAME}. Received: {splits}, "
            f"where there is no {path.name}. Leave it out to draw a split."
        )
    return path


def _refuse_outside(index: VideoIndex, *, depth: int, rule: str) -> None:
    outside = [file for file in index.files if len(file.parts) < depth]
    if outside:
        raise InputError(
            f"Every video must lie in a folder named after its class, {rule}. Received: "
            f"{index.folder}, where {len(outside)} do not, the first being {outside[0]}."
        )
