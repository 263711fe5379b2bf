"""A folder of your own videos, one folder per class.

    VIDEOS/wave/anna_01.mp4            the split is drawn (below), or listed in VIDEOS/splits.csv
    VIDEOS/train/wave/anna_01.mp4      the split is the folder: train, val, test

Split folders may have any name of `split_names`, in any case (`Train`, `valid`, `dev`, `Testing`);
all top folders are splits then. Videos are directly in their class's folder, and there are two
classes or more. Anything else stops with a question: which folder is the class is not guessed.

`splits.csv` (or any CSV given as `splits`) has a line for each video that is to be used:

    path,split,label,group             `label` may be left out: it is then the first folder of path
    wave/anna_01.mp4,train,wave,anna   `group` as well: it is then the name without its last number

Where VIDEOS holds no video, a folder of numbered pictures is one: `wave/anna_01/img_00001.jpg`.

Paths are relative to VIDEOS, or absolute; "\\" may separate folders. Videos in no line are counted.
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

from perfnet_tf.datasets.catalog import Catalog
from perfnet_tf.datasets.split_list import read_split_list
from perfnet_tf.datasets.split_names import name_splits
from perfnet_tf.datasets.video_files import StrPath, VideoIndex, fold_name
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip

#: Share of each class's videos that is drawn for the test.
TEST_SHARE = 0.3

LIST_NAME = "splits.csv"
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
        InputError: the folder is missing or empty; a video is in no class folder, or deeper; split
            folders and others at the top; a single class, or two whose names look alike; two videos
            with the same id; or the CSV is malformed or names a video that is not there.
    """
    videos = pathlib.Path(videos)
    index = VideoIndex(videos)
    list_path = _find_list(videos, splits)
    if list_path is not None:
        return _read_listed(index, list_path, split, name)
    split_folders = _split_folders(index)
    if split_folders:
        return _read_split_folders(index, split_folders, name)
    return _draw_splits(index, split, name)


def _read_listed(index: VideoIndex, path: pathlib.Path, split: int, name: str) -> Catalog:
    listed = read_split_list(index, path)
    groups, notes = dict(listed.groups), list(listed.notes)
    rows = [(file, stated, label) for file, stated, label in listed.rows if stated is not None]
    if not rows:  # a list without the column
        every = [(file, label) for file, _, label in listed.rows]
        groups = {file: groups.get(file) or group_name(file) for file, _ in every}
        rows, more = draw_listed(every, groups, split)
        notes = [*more, *notes]
    _refuse_torn_groups(rows, groups, path)
    return _make_catalog(index, rows, name, groups, notes)


def draw_listed(
    rows: Sequence[tuple[pathlib.PurePath, str]],
    groups: Mapping[pathlib.PurePath, str],
    split: int,
) -> tuple[list[tuple[pathlib.PurePath, str, str]], list[str]]:
    """(path, drawn split, class) of (path, class); a group of several classes stays together."""
    of_group: dict[str, str] = {}  # group -> split
    by_label: dict[str, dict[str, list[pathlib.PurePath]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    for file, label in rows:
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
    return [(file, of_group[groups[file]], label) for file, label in rows], notes


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


def _split_folders(index: VideoIndex) -> dict[str, str]:
    """Top folder -> split, if the top folders are splits; empty if they are classes.

    Raises:
        InputError: some are splits, and some are not.
    """
    shallowest: dict[str, int] = {}
    for file in index.files:
        if len(file.parts) > 1:
            depth = min(len(file.parts), shallowest.get(file.parts[0], len(file.parts)))
            shallowest[file.parts[0]] = depth
    named = name_splits(shallowest)
    # A class may be called train as well: its videos are directly in that folder.
    splits = {top: split for top, split in named.items() if shallowest[top] > 2}
    others = sorted(shallowest.keys() - named.keys())
    if splits and others:
        raise InputError(
            "The folders at the top are all splits, or all classes. Received: "
            f"{index.folder}, with the split folders {_some(sorted(splits))} next to "
            f"{_some(others)}. Move {_some(others)} into a split or out of this folder, or list "
            f"the videos in {LIST_NAME}."
        )
    return {} if others or not (splits or "train" in named.values()) else named


def _read_split_folders(index: VideoIndex, splits: Mapping[str, str], name: str) -> Catalog:
    _check_depth(index, depth=3, rule="SPLIT/CLASS/FILE")
    rows = [(file, splits[file.parts[0]], file.parts[1]) for file in index.files]
    return _make_catalog(index, rows, name, notes=_note_empty(index, depth=2))


def _draw_splits(index: VideoIndex, split: int, name: str) -> Catalog:
    _check_depth(index, depth=2, rule="CLASS/FILE")
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
    return _make_catalog(index, rows, name, groups, [*notes, *_note_empty(index, depth=1)])


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
            clip_id=index.clip_id(file),
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
    if {clip.split for clip in clips} == {"train"}:
        notes = [*notes, "All videos are in the split train: there is none to test on."]
    clips.sort(key=lambda clip: clip.clip_id)
    catalog = Catalog(
        name,
        classes,
        tuple(clips),
        notes=(*notes, *_note_numbers(classes)),
        left_out=index.left_out,
    )
    _check_classes(classes, index, len(clips))
    return catalog


def _find_list(videos: pathlib.Path, splits: StrPath | None) -> pathlib.Path | None:
    if splits is None:
        lists = [file for file in videos.iterdir() if file.name.lower() == LIST_NAME]
        return min((file for file in lists if file.is_file()), default=None, key=_exact_first)
    path = pathlib.Path(splits)
    path = path / LIST_NAME if path.is_dir() else path
    if not path.is_file():
        raise InputError(
            f"splits must be a CSV file, or a folder with {LIST_NAME}. Received: {splits}, "
            f"where there is no {path.name}. Leave it out to draw a split."
        )
    return path


def _exact_first(path: pathlib.Path) -> tuple[bool, str]:
    return path.name != LIST_NAME, path.name


def _check_depth(index: VideoIndex, *, depth: int, rule: str) -> None:
    """Raises `InputError` unless every video is where `rule` has it."""
    folder = index.folder
    outside = [file for file in index.files if len(file.parts) < depth]
    deeper = [file for file in index.files if len(file.parts) > depth]
    if outside:
        alone = ""
        if len(outside) == len(index.files) and {len(file.parts) for file in outside} == {1}:
            above = folder.absolute().parent
            alone = f" If {folder.name} is itself the folder of a class, give {above}."
        raise InputError(
            f"Every video must have a folder named after its class, {rule}. Received: "
            f"{folder}, where {len(outside)} do not, the first being {outside[0]}.{alone}"
        )
    if not deeper:
        return
    first = deeper[0]
    question = (
        f"Which folder is the class? Videos are expected as {rule}. Received: {folder}, where "
        f"{len(deeper)} of {len(index.files)} are deeper, the first being {first}. "
    )
    common = pathlib.PurePath(*_common_parts([file.parts[:-2] for file in index.files]))
    if common.parts and depth == 2:
        inside = sorted({file.relative_to(common).parts[0] for file in index.files})
        raise InputError(
            f"{question}If the folders of the classes or splits are {_some(inside)}, give "
            f"{folder / common} as `videos`."
        )
    if depth == 2 and len(first.parts) == 3 and name_splits([first.parts[1]]):
        raise InputError(
            f"{question}If {first.parts[1]} is a split, put the splits above the classes: "
            f"{first.parts[1]}/{first.parts[0]}/{first.name}."
        )
    raise InputError(
        f"{question}If it is {first.parts[depth - 2]}, move its videos directly into that folder; "
        f"if it is {first.parts[-2]}, move that one up; or write {LIST_NAME} with the columns "
        "path, label and group."
    )


def _common_parts(paths: Sequence[tuple[str, ...]]) -> list[str]:
    common = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return common


def _check_classes(classes: Sequence[str], index: VideoIndex, num_videos: int) -> None:
    """Raises `InputError` unless there are two classes or more, and no two look alike."""
    alike: dict[str, list[str]] = collections.defaultdict(list)
    for name in classes:
        alike[fold_name(name.strip())].append(name)
    for names in alike.values():
        if len(names) > 1:
            raise InputError(
                "Names of classes must differ in more than case, blanks at the ends and Unicode "
                f"form. Received: {' and '.join(map(repr, names))} in {index.folder}. If they are "
                "one class, give its folders one name."
            )
    if len(classes) == 1:
        raise InputError(
            f"What are the classes? Training needs at least two. Received: {index.folder}, "
            f"where all {num_videos} videos are of the class {classes[0]!r}. Give the folder that "
            "holds one folder for each class."
        )


def _note_empty(index: VideoIndex, *, depth: int) -> list[str]:
    """A note that names folders at the depth of classes without a video in them."""
    held = {file.parts[:depth] for file in index.files}
    empty = [f for f in index.folders if len(f.parts) == depth and f.parts not in held]
    return [f"No video, so no class: {_some(list(map(str, empty)))}."] if empty else []


def _note_numbers(classes: Sequence[str]) -> list[str]:
    if not all(name.isdecimal() for name in classes) or sorted(classes, key=int) == list(classes):
        return []
    return [
        f"Classes that are numbers are sorted as text: {_some(classes)} are labels 0, 1, 2, ..."
    ]


def _some(names: Sequence[str], limit: int = 4) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" * (len(names) > limit))
