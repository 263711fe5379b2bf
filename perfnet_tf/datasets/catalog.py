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
import os
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.errors import InputError, check_choice, is_utf8
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.registry import Registry

StrPath = str | os.PathLike[str]


VIDEO_EXTENSIONS = frozenset(
    ".avi .mp4 .mkv .webm .mov .m4v .mpg .mpeg .wmv .flv .3gp .ts .mts .ogv".split()
)


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
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[SourceClip, ...]
    missing: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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
    dataset: str, *, videos: StrPath, splits: StrPath | None = None, split: int = 1
) -> Catalog:
    """Reads a dataset's lists and finds its videos.

    Args:
        dataset: one of `DATASETS`.
        videos: folder of the videos.
        splits: the lists: a folder, or for `folder` a CSV file too. None looks in `videos`.
        split: which official split (UCF-101 and HMDB-51 have 1, 2 and 3); for `folder` without
            lists, which of the random ones. Kinetics has one split and ignores it.

    Raises:
        InputError: the folder or a list is missing or malformed, or (but for Kinetics) a listed
            video is not there.
    """
    check_choice("dataset", dataset, DATASETS)
    lists = None if splits is None else pathlib.Path(splits)
    return DATASETS[dataset](pathlib.Path(videos), lists, split)


class VideoIndex:
    """The video files below a folder, found in one walk."""

    def __init__(self, folder: StrPath) -> None:
        """Walks the folder, following links; hidden files and folders are left out.

        Raises:
            InputError: no such folder, no video in it, or a name that is not UTF-8.
        """
        self.folder = pathlib.Path(folder)
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise InputError(f"videos must be a folder. Received: {self.folder}, which {what}.")
        #: Paths relative to the folder, sorted.
        self.files = sorted(_walk(self.folder))
        if not self.files:
            raise InputError(
                f"videos must hold video files ({' '.join(sorted(VIDEO_EXTENSIONS))}). "
                f"Received: {self.folder}, in which there are none."
            )
        strange = [file for file in self.files if not is_utf8(file)]
        if strange:
            raise InputError(
                "The names of videos and of their folders must be UTF-8. Received: "
                f"{self.folder}, where {len(strange)} are not, the first being "
                f"{str(strange[0])!r}. Rename them."
            )
        self._by_stem: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
        for file in self.files:
            self._by_stem[file.stem].append(file)

    def find(self, name: str, *, parents: Collection[str] | None = None) -> str | None:
        """Path of the video called `name`, or None.

        Args:
            name: file name. Another extension will do where the exact file is not there: people
                re-encode datasets.
            parents: names of folders to prefer; with any given, only a file directly in
                one of them or directly in the top folder counts.
        """
        wanted = pathlib.PurePath(name)
        candidates = self._by_stem.get(wanted.stem, [])
        if not candidates and wanted.suffix.lower() not in VIDEO_EXTENSIONS:
            candidates = self._by_stem.get(wanted.name, [])  # "clip.v2" has no extension
        if parents is not None:
            in_parents = [file for file in candidates if file.parent.name in parents]
            candidates = in_parents or [file for file in candidates if len(file.parts) == 1]
        if not candidates:
            return None
        best = min(candidates, key=lambda file: (file.suffix != wanted.suffix, file))
        return self.path_of(best)

    def path_of(self, file: pathlib.PurePath) -> str:
        """Absolute path of one of `files`: whoever decodes may work in another folder."""
        return str((self.folder / file).absolute())


def find_lists(
    videos: StrPath, splits: StrPath | None, *, archive: str, marker: str, dataset: str
) -> pathlib.Path:
    """The folder of an official dataset's split lists.

    Args:
        videos, splits: as in `load_catalog`.
        archive: name of the folder that the official archive unpacks to.
        marker: glob of a file that must be there.
        dataset: for the message.

    Raises:
        InputError: nowhere such a file.
    """
    top = pathlib.Path(videos if splits is None else splits)
    for folder in (top, top / archive):
        if folder.is_dir() and any(folder.glob(marker)):
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

    Raises:
        InputError: the file is not there, not text or, when that line is read, no table.
    """
    reader = csv.DictReader(io.StringIO(_read_text(path), newline=""), skipinitialspace=True)
    with _explaining_broken_table(path):
        columns = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = columns

    def rows() -> Iterator[tuple[str, dict[str, str]]]:
        with _explaining_broken_table(path):
            for row in reader:
                yield (
                    f"{path}, line {reader.line_num}",
                    {column: (row[column] or "").strip() for column in columns},
                )

    return columns, rows()


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
        raise InputError(f"The split list {path} cannot be read: {error}.") from error


def _refuse_repeats(clip_ids: Sequence[str]) -> None:
    repeated = [clip_id for clip_id, count in collections.Counter(clip_ids).items() if count > 1]
    if repeated:
        raise InputError(
            "A clip must be listed once, in one split, and clips of a class must differ in more "
            f"than the extension. Received: {len(repeated)} ids that name several, the first "
            f"being {repeated[0]}."
        )


def _walk(top: pathlib.Path) -> Iterator[pathlib.PurePath]:
    seen = set()  # of real folders: links may go round in circles
    for folder, subfolders, names in os.walk(top, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        real = os.path.realpath(folder)
        if real in seen:
            subfolders[:] = []
            continue
        seen.add(real)
        relative = pathlib.PurePath(os.path.relpath(folder, top))
        for name in names:
            if os.path.splitext(name)[1].lower() in VIDEO_EXTENSIONS and not name.startswith("."):
                yield relative / name
