"""Which videos a dataset has, what each shows and which split it is in, before any is opened.

`load_catalog` reads the official lists of the public datasets, and folders of your own. It imports
no TensorFlow and decodes nothing, so it takes a second where the lists are wrong.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import importlib
import io
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.datasets.video_files import StrPath, VideoIndex, describe_left_out
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.label_kinds import MULTI_LABEL, SINGLE_LABEL
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.registry import Registry

__all__ = [
    "DATASETS",
    "Catalog",
    "ReadCatalog",
    "StrPath",
    "VideoIndex",
    "describe_catalog",
    "find_lists",
    "load_catalog",
    "read_lines",
    "read_table",
    "refuse_missing",
    "register_dataset",
]

#: How many class names `describe_catalog` gives.
_NAMES_SHOWN = 6


@dataclass(frozen=True)
class Catalog:
    """A dataset's classes and videos.

    Attributes:
        name: such as `ucf101`.
        classes: class names in label order.
        clips: every video that is there; ids are unique.
        missing: id -> split of clips that the lists name and the folder lacks (Kinetics: gone from
            the web); their number belongs into every report of an accuracy.
        notes: what a user should know before trusting numbers, a sentence each.
        left_out: what kind of files in the folder that are no videos (`.txt`) -> how many.
        label_kind: `single` or `multi` (`label_kinds`).
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[SourceClip, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    label_kind: str = SINGLE_LABEL

    def __post_init__(self) -> None:
        if not self.clips:
            raise InputError(f"A dataset must have videos. Received: {self.name}, which has none.")
        _refuse_repeats([clip.clip_id for clip in self.clips])

    @property
    def clips_per_split(self) -> dict[str, int]:
        """Split name -> number of clips, for splits that have any."""
        return dict(collections.Counter(clip.split for clip in self.clips))


#: (videos, lists, official split) -> the dataset.
ReadCatalog = Callable[[pathlib.Path, pathlib.Path | None, int], Catalog]


def _reader(module: str, name: str) -> ReadCatalog:
    """`read_catalog` of a module of this package, imported when it is called."""

    def read(videos: pathlib.Path, lists: pathlib.Path | None, official_split: int) -> Catalog:
        reader = importlib.import_module(f"perfnet_tf.datasets.{module}")
        result: Catalog = reader.read_catalog(videos, lists, official_split, name=name)
        return result

    return read


#: Datasets that `perfnet prepare --dataset` can name.
DATASETS: Registry[ReadCatalog] = Registry(
    "dataset",
    {
        "ucf101": _reader("ucf101", "ucf101"),
        "hmdb51": _reader("hmdb51", "hmdb51"),
        "kinetics400": _reader("kinetics", "kinetics400"),
        "kinetics600": _reader("kinetics", "kinetics600"),
        "kinetics700": _reader("kinetics", "kinetics700"),
        "folder": _reader("folder", "folder"),
        "list": _reader("annotation_list", "list"),
        "ssv2": _reader("ssv2", "ssv2"),
        "diving48": _reader("diving48", "diving48"),
        "unlabelled": _reader("unlabelled", "unlabelled"),
        "charades": _reader("charades", "charades"),
        "synthetic": _reader("ucf101", "synthetic"),  # written in UCF-101's format
    },
)


def register_dataset(name: str, reader: ReadCatalog) -> None:
    """Adds a dataset, for `dataset=name` of `perfnet_tf.prepare`.

    Args:
        name: lower-case identifier.
        reader: called with the folder of the videos, the folder or file of the split lists (None
            if the user gives none) and the number of the official split; returns a `Catalog`, or
            raises `InputError`.

    Raises:
        InputError: the name is taken, or not an identifier.
    """
    DATASETS.register(name, reader)


def load_catalog(
    dataset: str,
    *,
    videos: StrPath,
    splits: StrPath | None = None,
    split: int = 1,
    label_separator: str | None = None,
) -> Catalog:
    """Reads a dataset's lists and finds its videos.

    Args:
        dataset: one of `DATASETS`.
        videos: folder of the videos.
        splits: the lists: a folder, or for `folder` a CSV file too. None looks in `videos`.
        split: which official split (UCF-101 and HMDB-51 have 1, 2 and 3); for `folder` without
            lists, which of the random ones. Kinetics has one split and ignores it.
        label_separator: between several labels of a clip, for `list`; None: a clip has one.

    Raises:
        InputError: the folder or a list is missing or malformed, or (but for Kinetics) a listed
            video is not there.
    """
    check_choice("dataset", dataset, DATASETS)
    lists = None if splits is None else pathlib.Path(splits)
    if label_separator is not None:
        return _read_several_labels(dataset, videos, lists, split, label_separator)
    return DATASETS[dataset](pathlib.Path(videos), lists, split)


def _read_several_labels(
    dataset: str,
    videos: StrPath,
    lists: pathlib.Path | None,
    split: int,
    label_separator: str,
) -> Catalog:
    if dataset != "list" or not label_separator:
        raise InputError(
            "`label_separator` is for `dataset=list`: what is between several labels of a clip. "
            f"Received: {label_separator!r} for {dataset}. Leave it out."
        )
    reader = importlib.import_module("perfnet_tf.datasets.annotation_list")
    result: Catalog = reader.read_catalog(videos, lists, split, label_separator=label_separator)
    return result


def describe_catalog(catalog: Catalog) -> tuple[str, ...]:
    """What a catalogue holds, a line each: classes and clips, and what kinds of files it left out.

    ucf101: 101 classes (ApplyEyeMakeup, ApplyLipstick, ...), 13320 videos: train 9537, test 3783
    """
    names = ", ".join(catalog.classes[:_NAMES_SHOWN])
    more = ", ..." if len(catalog.classes) > _NAMES_SHOWN else ""
    splits = ", ".join(f"{name} {count}" for name, count in catalog.clips_per_split.items())
    classes = "1 class" if len(catalog.classes) == 1 else f"{len(catalog.classes)} classes"
    videos = "1 video" if len(catalog.clips) == 1 else f"{len(catalog.clips)} videos"
    line = f"{catalog.name}: {classes} ({names}{more}), {videos}: {splits}"
    if catalog.label_kind == MULTI_LABEL:
        line += f"; {sum(len(clip.labels) for clip in catalog.clips)} labels"
    return (line, describe_left_out(catalog.left_out)) if catalog.left_out else (line,)


def find_lists(
    videos: StrPath,
    splits: StrPath | None,
    *,
    archive: str,
    marker: str,
    dataset: str,
    others: Sequence[str] = (),
) -> pathlib.Path:
    """The folder of an official dataset's split lists.

    Args:
        videos, splits: as in `load_catalog`.
        archive: name of the folder that the official archive unpacks to.
        marker: glob of a file that must be there.
        dataset: for the message.
        others: further globs of files that will do.

    Raises:
        InputError: nowhere such a file.
    """
    top = pathlib.Path(videos if splits is None else splits)
    for folder in (top, top / archive):
        if folder.is_dir() and any(any(folder.glob(form)) for form in (marker, *others)):
            return folder
    raise InputError(
        f"{dataset} needs its official split lists ({marker}). Received: "
        f"{'videos' if splits is None else 'splits'}={top}, which has none. Unpack {archive} and "
        "give its folder as `splits`."
    )


def read_lines(path: pathlib.Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, stripped line), without empty ones; any line ends, with or without BOM.

    Raises:
        InputError: the file is not there or not text.
    """
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_table(path: pathlib.Path) -> tuple[list[str], Iterator[tuple[str, dict[str, str]]]]:
    """The columns of a CSV file, and (where, column -> stripped text) for each line.

    Columns may be separated by semicolons or tabs, as spreadsheets write them in some languages;
    their names come in lower case. Columns without a name and empty lines are left out.

    Raises:
        InputError: the file is not there, not text or, when that line is read, no table.
    """
    text = _read_text(path)
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True
    )
    with _explaining_broken_table(path):
        columns = [name.strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = columns

    named = [column for column in columns if column]

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        with _explaining_broken_table(path):
            for row in reader:
                values = {column: (row[column] or "").strip() for column in named}
                if any(values.values()):
                    yield f"{path}, line {reader.line_num}", values

    return named, rows()


@contextlib.contextmanager
def _explaining_broken_table(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise InputError(
            f"{path} must be a table (CSV): {error}. A quotation mark may not be closed."
        ) from error


def refuse_missing(missing: Sequence[str], num_listed: int, videos: StrPath) -> None:
    """Raises `InputError` if any listed video was not found."""
    if missing:
        raise InputError(
            f"Every listed video must be there. Received: {videos}, which lacks {len(missing)} of "
            f"{num_listed}, the first being {missing[0]}. Unpack them, or take them off the lists."
        )


def _read_text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"The split list {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The split list {path} cannot be read: {error}. Save it as UTF-8 text."
        ) from error


def _refuse_repeats(clip_ids: Sequence[str]) -> None:
    repeated = [clip_id for clip_id, count in collections.Counter(clip_ids).items() if count > 1]
    if repeated:
        raise InputError(
            "A clip must be listed once, in one split, and clips of a class must differ in more "
            f"than the extension. Received: {len(repeated)} ids that name several, the first "
            f"being {repeated[0]}. Remove or rename all but one."
        )
