"""Videos and labels by the annotation lists of other libraries.

| a line                            | of                                                           |
|-----------------------------------|--------------------------------------------------------------|
| `path label`                      | mmaction2's `VideoDataset`, SlowFast, PyTorchVideo           |
| `path,label`                      | SlowFast with `DATA.PATH_LABEL_SEPARATOR ","`                |
| `path frames label`               | mmaction2's `RawframeDataset`: folders of pictures           |
| `path first_frame frames label`   | the same `with_offset`: parts of them                        |
| `path,start,end,label`            | parts of videos, in seconds                                  |
| `path label label ...`            | mmaction2's `multi_class`: several labels per clip           |
| `path,label,label,...`            | the same with commas (Multi-Moments in Time)                 |

The last two need `label_separator`: nothing else tells a label from a number of frames. With it,
folders of pictures have `path frames label label ...`.

A list with a header names its columns instead: `path`, `label`, and, if wanted, `start` and `end`
(seconds, both or neither), `split`, `group`; several labels in one cell have the separator between
(`run;jump`). Labels are whole numbers from 0, or names. A part of a video is a clip of its own,
called after the video and its times: `ID_START_END`.

The split is in the list's name (`train.csv`, `ucf101_val_split_1_videos.txt`) or its column; of one
list without either, about 30 % of each class are drawn for the test, whole recordings at a time.
A skeleton pickle of PYSKL or MMAction2, `ucf101_hrnet.pkl`, is a list as well (`skeleton_list`).

Paths are relative to the videos' folder or absolute; what is before the folder (`data/ucf101/...`)
does not matter. Listed videos that are not there are counted.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Sequence

from perfnet_tf.datasets.annotation_rows import ListRow, read_rows
from perfnet_tf.datasets.catalog import Catalog, StrPath
from perfnet_tf.datasets.folder import draw_listed, group_name
from perfnet_tf.datasets.skeleton_list import read_skeleton_list
from perfnet_tf.datasets.split_names import SPLIT_NAMES
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.label_kinds import MULTI_LABEL, SINGLE_LABEL
from perfnet_tf.records.schema import SourceClip

_LIST_ENDINGS = {".txt", ".csv"}


def read_catalog(
    videos: StrPath,
    splits: StrPath | None = None,
    split: int = 1,
    *,
    name: str = "list",
    label_separator: str | None = None,
) -> Catalog:
    """Reads lists, as the module describes.

    Args:
        videos: folder of the videos, or of the folders of pictures.
        splits: a list, several with commas between, a folder of lists whose names state the
            split, or a skeleton pickle (`skeleton_list`); None looks in `videos`.
        split: which split, where several lists differ in `split_N`, or one is drawn.
        name: of the dataset.
        label_separator: between several labels of a clip; None: a clip has one label.

    Returns:
        The clips that are there. Classes that are numbers are called so, from 0 to the largest;
        names are in alphabetical order.

    Raises:
        InputError: no list, or a malformed one; not one listed video is there.
    """
    index = VideoIndex(videos)
    rows: list[ListRow] = []
    notes: list[str] = []
    by_name = False
    for stated, path in _find_lists(index, videos, splits, split):
        if path.suffix.lower() == ".pkl":
            listed, notes = read_skeleton_list(path, split)
            rows += listed
            by_name = True
            continue
        rows += [
            row if row.split or not stated else dataclasses.replace(row, split=stated)
            for row in read_rows(path, index, label_separator)
        ]
    if not rows:
        raise InputError(f"A list must name videos. Received: {splits or videos}, with none.")
    paths = _ListedPaths(index, by_name=by_name)
    found = [(row, paths.find(row.path)) for row in rows]
    there = [(row, file) for row, file in found if file is not None]
    if not there:
        raise InputError(
            f"No listed video is there. Received: {videos} and {len(rows)} listed, the first being "
            f"{rows[0].path}. Give the folder to which the paths are relative as `videos`."
        )
    notes += list(index.note_unlisted({index.path_of(file) for _, file in there}))
    if len(there) < len(rows):
        notes.append(
            f"{len(rows) - len(there)} of {len(rows)} listed clips are not there: state this "
            "number next to any accuracy."
        )
    single = label_separator is None and all(len(row.labels) == 1 for row in rows)
    classes = _class_names([label for row in rows for label in row.labels])
    there, drawn = _draw_splits(there, split)
    clips = _make_clips(index, there, classes)
    missing = {
        _name_part(row, row.path): row.split or "train" for row, file in found if file is None
    }
    return Catalog(
        name,
        classes,
        tuple(clips),
        missing,
        (*drawn, *notes),
        left_out=index.left_out,
        label_kind=SINGLE_LABEL if single else MULTI_LABEL,
    )


def _make_clips(
    index: VideoIndex, rows: Sequence[tuple[ListRow, pathlib.PurePath]], classes: Sequence[str]
) -> list[SourceClip]:
    places = {class_name: label for label, class_name in enumerate(classes)}
    clips = []
    for row, file in rows:
        names = {str(int(name)) if name.isdecimal() else name for name in row.labels}
        label, *others = sorted(places[name] for name in names)
        video_id = index.clip_id(file)
        clip_id = _name_part(row, video_id)
        clips.append(
            SourceClip(
                clip_id=clip_id,
                path=index.path_of(file),
                label=label,
                label_name=classes[label],
                split=row.split,
                # Parts of one video are of one recording.
                group=row.group or (None if clip_id == video_id else video_id),
                start=row.start,
                end=row.end,
                first_frame=row.first_frame,
                num_frames=row.num_frames,
                other_labels=tuple(others),
                other_label_names=tuple(classes[other] for other in others),
            )
        )
    return sorted(clips, key=lambda clip: clip.clip_id)


def _name_part(row: ListRow, video_id: str) -> str:
    """The id of a video, or of a part of it."""
    if row.start is not None and row.end is not None:
        return f"{video_id}_{row.start:g}_{row.end:g}"
    if row.first_frame and row.num_frames is not None:
        return f"{video_id}_{row.first_frame}_{row.first_frame + row.num_frames}"
    return video_id


def _class_names(labels: Sequence[str]) -> tuple[str, ...]:
    names = set(labels)
    if all(name.isdecimal() for name in names):
        return tuple(str(number) for number in range(max(map(int, names)) + 1))
    return tuple(sorted(names))


def _draw_splits(
    rows: Sequence[tuple[ListRow, pathlib.PurePath]], split: int
) -> tuple[list[tuple[ListRow, pathlib.PurePath]], list[str]]:
    """`rows` with splits and groups, and notes if they are drawn.

    Raises:
        InputError: some state a split, and some do not.
    """
    stated = [bool(row.split) for row, _ in rows]
    if all(stated):
        return list(rows), []
    if any(stated):
        first = next(row for row, _ in rows if not row.split)
        raise InputError(
            f"Every listed video has a split, or none has. Received: {first.path} without "
            f"({first.where})."
        )
    groups = {file: row.group or group_name(file) for row, file in rows}
    # A video has many parts.
    once = list(dict.fromkeys((file, label) for row, file in rows for label in row.labels))
    drawn, notes = draw_listed(once, groups, split)
    split_of = {file: split_name for file, split_name, _ in drawn}
    return [
        (dataclasses.replace(row, split=split_of[file], group=groups[file]), file)
        for row, file in rows
    ], notes


class _ListedPaths:
    """Finds videos by what lists call them."""

    def __init__(self, index: VideoIndex, *, by_name: bool) -> None:
        self._index = index
        self._by_name = by_name  # in whichever folder
        self._prefixes = 0  # parts before the folder, as the last path had them

    def find(self, text: str) -> pathlib.PurePath | None:
        """The video, or None."""
        parts = pathlib.PurePath(text.replace("\\", "/")).parts
        for start in dict.fromkeys((self._prefixes, *range(len(parts)))):
            tail = "/".join(parts[start:]) if start else text
            file = self._index.locate(tail) if tail else None
            if file is not None:
                self._prefixes = start
                return file
        return self._index.locate_name(text) if self._by_name else None


def _find_lists(
    index: VideoIndex, videos: StrPath, splits: StrPath | None, split: int
) -> list[tuple[str | None, pathlib.Path]]:
    """(split that its name states, list)."""
    text = str(videos if splits is None else splits)
    path = pathlib.Path(text)
    if not path.is_dir():
        named = [path] if path.exists() else [pathlib.Path(part) for part in text.split(",")]
        for one in named:
            if not one.is_file():
                raise InputError(f"splits must be lists that exist. Received: {one}.")
        if len(named) == 1:
            return [(_stated_split(named[0]), named[0])]
        return _check_splits([(_stated_split(one), one) for one in named])
    lists = [
        (_stated_split(file), file)
        for file in sorted(path.iterdir())
        if file.suffix.lower() in _LIST_ENDINGS and _stated_split(file)
    ]
    if not lists:
        raise InputError(
            f"splits must be a list, or a folder of lists called after their splits, such as "
            f"train.csv. Received: {path}, which has none. Name the list itself."
        )
    other = "videos" if index.of_frames else "rawframes"  # mmaction2 has lists of both
    lists = [item for item in lists if other not in item[1].stem.lower()] or lists
    lists = [item for item in lists if _split_number(item[1]) in (None, split)] or lists
    return _check_splits(lists)


def _check_splits(
    lists: Sequence[tuple[str | None, pathlib.Path]],
) -> list[tuple[str | None, pathlib.Path]]:
    of_split: dict[str | None, pathlib.Path] = {}
    for stated, file in lists:
        if stated is None or stated in of_split:
            other = of_split.get(stated)
            raise InputError(
                "Lists are called after their splits (train, val, test), one for each. Received: "
                f"{file.name}{f' and {other.name}' if other else ''} in {file.parent}. "
                "Name the lists themselves, with commas between."
            )
        of_split[stated] = file
    return list(lists)


def _stated_split(path: pathlib.Path) -> str | None:
    words = [word.removesuffix("list") for word in re.split(r"[\W_\d]+", path.stem.lower())]
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return splits.pop() if len(splits) == 1 else None


def _split_number(path: pathlib.Path) -> int | None:
    match = re.search(r"split_?(\d+)", path.stem.lower())
    return int(match[1]) if match else None
