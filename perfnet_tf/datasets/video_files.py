"""Which files below a folder are videos: one listing for `prepare`, `predict` and every dataset."""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.errors import InputError, is_utf8
from perfnet_tf.pose.keypoint_file import KEYPOINTS_ENDING
from perfnet_tf.video.frame_names import is_frame_name

StrPath = str | os.PathLike[str]


VIDEO_EXTENSIONS = frozenset(
    (
        ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .gif .m2t .m2ts .m4v .mkv .mod .mov .mp4 .mpe "
        ".mpeg .mpg .mts .mxf .ogm .ogv .qt .tod .ts .vob .webm .webp .wmv .wtv"
    ).split()
)
#: How many kinds of other files a line names: "img.0001", "img.0002" ... have an ending each.
_KINDS_SHOWN = 8
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp"}
_ARCHIVES = {".7z", ".gz", ".rar", ".tar", ".tgz", ".zip"}


@dataclass(frozen=True)
class FoundVideos:
    """What is below a folder.

    Attributes:
        files: the videos' paths relative to the folder, sorted.
        left_out: what kind of other files (`.txt`, `hidden .mp4`) -> how many.
        folders: every folder's path relative to the folder, sorted, without hidden ones.
        frame_folders: those that hold two numbered pictures or more, which may be frames.
        left_out_of_frames: `left_out` without the pictures in `frame_folders`.
    """

    files: tuple[pathlib.PurePath, ...]
    left_out: Mapping[str, int]
    folders: tuple[pathlib.PurePath, ...]
    frame_folders: tuple[pathlib.PurePath, ...] = ()
    left_out_of_frames: Mapping[str, int] = field(default_factory=dict)


def find_videos(folder: StrPath) -> FoundVideos:
    """Walks a folder and all folders in it, also those that links lead to.

    Hidden files and folders are left out, and so are the shadow files of the Mac: `._NAME` and
    `__MACOSX`. A link that leads back to a folder above itself is not followed.

    Raises:
        InputError: the folder cannot be read.
    """
    files: list[pathlib.PurePath] = []
    folders: list[pathlib.PurePath] = []
    left_out: collections.Counter[str] = collections.Counter()
    frame_folders: list[pathlib.PurePath] = []
    pictures: collections.Counter[str] = collections.Counter()  # in them
    top = os.path.realpath(folder)
    #: Path, path relative to `folder`, real path, and the real paths of all folders above.
    pending = [(os.fspath(folder), pathlib.PurePath(), top, frozenset({top}))]
    while pending:
        path, relative, real, above = pending.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            if path == os.fspath(folder):
                raise InputError(f"{path} cannot be read: {error.strerror}.") from error
            left_out["unreadable folder(s)"] += 1
            continue
        num_frames = 0
        here: collections.Counter[str] = collections.Counter()  # pictures
        for entry in entries:
            if _is_folder(entry):
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                target = os.path.join(real, entry.name)
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                if target not in above:
                    inside = relative / entry.name
                    folders.append(inside)
                    pending.append((entry.path, inside, target, above | {target}))
            elif (kind := _other_kind(entry)) is None:
                files.append(relative / entry.name)
            elif kind in _PICTURES:
                here[kind] += 1
                num_frames += is_frame_name(entry.name)
            elif kind:
                left_out[kind] += 1
        if num_frames > 1 and relative.parts:
            frame_folders.append(relative)
            pictures += here
        else:
            left_out += here
    return FoundVideos(
        tuple(sorted(files)),
        dict(sorted((left_out + pictures).items())),
        tuple(sorted(folders)),
        tuple(sorted(frame_folders)),
        dict(sorted(left_out.items())),
    )


def list_videos(paths: Iterable[StrPath]) -> tuple[list[pathlib.Path], Mapping[str, int]]:
    """The files among `paths`, and the videos in the folders among them, sorted by name.

    A path that does not exist stays in the list: reading it reports what is wrong.

    Returns:
        The videos, and what was left out of the folders, as in `FoundVideos`.

    Raises:
        InputError: a folder without a video.
    """
    videos: list[pathlib.Path] = []
    left_out: collections.Counter[str] = collections.Counter()
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            videos.append(path)
            continue
        found = find_videos(path)
        if not found.files:
            raise InputError(
                f"A folder must hold videos ({' '.join(sorted(VIDEO_EXTENSIONS))}). Received: "
                f"{path}{_with_left_out(found.left_out)}. Name the files themselves if they have "
                "other endings."
            )
        videos += [path / file for file in found.files]
        left_out.update(found.left_out)
    return videos, dict(sorted(left_out.items()))


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """What a listing left out, in one line: `left out (not videos): 3 .txt, 1 hidden .mp4`."""
    return f"left out (not videos): {_counts(left_out)}"


class VideoIndex:
    """The video files below a folder, found in one walk.

    In a folder without a single video, folders of numbered pictures take the place of videos.
    """

    def __init__(self, folder: StrPath) -> None:
        """Walks the folder, as `find_videos` does.

        Raises:
            InputError: no such folder, neither videos nor folders of frames in it, or a name that
                is not UTF-8.
        """
        self.folder = pathlib.Path(folder)
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            unpack = " Unpack it first." if self.folder.suffix.lower() in _ARCHIVES else ""
            raise InputError(
                f"videos must be a folder. Received: {self.folder}, which {what}.{unpack}"
            )
        found = find_videos(self.folder)
        #: Whether `files` are folders of numbered pictures.
        self.of_frames = not found.files and bool(found.frame_folders)
        #: Paths relative to the folder, sorted.
        self.files = list(found.frame_folders if self.of_frames else found.files)
        #: Folders below the folder, relative to it, sorted.
        self.folders = found.folders
        #: What kind of other files -> how many.
        self.left_out = found.left_out_of_frames if self.of_frames else found.left_out
        if not self.files:
            raise InputError(
                f"videos must hold video files ({' '.join(sorted(VIDEO_EXTENSIONS))}) or folders "
                "of numbered pictures. Received: "
                f"{self.folder}, in which there are none{_with_left_out(self.left_out)}."
            )
        strange = [file for file in self.files if not is_utf8(file)]
        if strange:
            raise InputError(
                "The names of videos and of their folders must be UTF-8. Received: "
                f"{self.folder}, where {len(strange)} are not, the first being "
                f"{str(strange[0])!r}. Rename them."
            )

    @functools.cached_property
    def _by_stem(self) -> Mapping[str, Sequence[pathlib.PurePath]]:
        by_stem: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
        for file in self.files:
            for stem in {file.stem, video_stem(file.name)}:
                by_stem[stem].append(file)
        return by_stem

    @functools.cached_property
    def _by_folded(self) -> Mapping[str, Sequence[pathlib.PurePath]]:
        by_folded: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
        for stem, files in self._by_stem.items():
            by_folded[fold_name(stem)] += files
        return by_folded

    def find(self, name: str, *, parents: Collection[str] | None = None) -> str | None:
        """Path of the video called `name`, or None.

        Args:
            name: file name. Another extension will do where the exact file is not there: people
                re-encode datasets. Then, so will another case or Unicode form of the name.
            parents: names of folders to prefer; with any given, only a file directly in
                one of them or directly in the top folder counts.
        """
        wanted = pathlib.PurePath(name)
        stems = [wanted.stem]
        if wanted.suffix.lower() not in VIDEO_EXTENSIONS:
            stems.append(wanted.name)  # "clip.v2" has no extension
        candidates = _first_held(self._by_stem, stems, parents) or _first_held(
            self._by_folded, map(fold_name, stems), parents
        )
        if not candidates:
            return None
        return self.path_of(min(candidates, key=lambda file: (file.suffix != wanted.suffix, file)))

    def locate_name(self, name: str) -> pathlib.PurePath | None:
        """The one of `files` with this name, without its ending, or None; in any folder."""
        found = self._by_stem.get(name) or self._by_folded.get(fold_name(name)) or ()
        return found[0] if len(found) == 1 else None

    def path_of(self, file: pathlib.PurePath) -> str:
        """Absolute path of one of `files`: whoever decodes may work in another folder."""
        return str((self.folder / file).absolute())

    @functools.cached_property
    def _by_path(self) -> Mapping[str, Sequence[pathlib.PurePath]]:
        """Path in one case and Unicode form, with and without the ending -> videos."""
        by_path: dict[str, list[pathlib.PurePath]] = collections.defaultdict(list)
        for file in self.files:
            by_path[fold_name(file.as_posix())].append(file)
            if not self.of_frames:
                by_path[fold_name(file.with_suffix("").as_posix())].append(file)
        return by_path

    @functools.cached_property
    def _there(self) -> frozenset[pathlib.PurePath]:
        return frozenset(self.files)

    def locate(self, text: str) -> pathlib.PurePath | None:
        """The one of `files` that a list names, or None.

        Args:
            text: path with slashes of either kind, relative to the folder or absolute. Another
                case or Unicode form, as other systems write names, and another ending or none will
                do where the exact path is not there.
        """
        for spelling in dict.fromkeys((text, text.replace("\\", "/"))):
            file = pathlib.PurePath(spelling)
            if file.is_absolute():
                for folder in (self.folder.absolute(), self.folder.resolve()):
                    if file.is_relative_to(folder):
                        file = file.relative_to(folder)
                        break
            if file in self._there:
                return file
            forms = [file]
            if file.suffix.lower() in VIDEO_EXTENSIONS:
                forms.append(file.with_suffix(""))
            for name in forms:
                alike = self._by_path.get(fold_name(name.as_posix()), [])
                if len(alike) == 1:
                    return alike[0]
        return None

    def clip_id(self, file: pathlib.PurePath) -> str:
        """The id of one of `files`: its path, without the extension of a video."""
        return str(file if self.of_frames else file.with_suffix(""))

    def note_unlisted(self, listed: Collection[str]) -> tuple[str, ...]:
        """A note if videos are in no list.

        Args:
            listed: the paths that lists name, as `path_of` and `find` give them.
        """
        unlisted = [file for file in self.files if self.path_of(file) not in listed]
        return unlisted_note(unlisted, self.folder)


def unlisted_note(unlisted: Collection[pathlib.PurePath], folder: StrPath) -> tuple[str, ...]:
    """A note that names the number and the first of videos that no list names; none if none."""
    if not unlisted:
        return ()
    number = len(unlisted)
    return (
        f"{number} {'video' if number == 1 else 'videos'} of {folder} {_be(number)} in no list and "
        f"{'was' if number == 1 else 'were'} left out, the first being {min(unlisted)}.",
    )


def video_stem(name: str) -> str:
    """A file name without its video extensions: `ID.mp4` and `ID.mp4.mkv` give `ID`."""
    stem, ending = os.path.splitext(name)
    while ending.lower() in VIDEO_EXTENSIONS:
        name = stem
        stem, ending = os.path.splitext(name)
    return name


def fold_name(name: str) -> str:
    """`name` in one Unicode form and case: names that fold alike look alike."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _first_held(
    index: Mapping[str, Sequence[pathlib.PurePath]],
    keys: Iterable[str],
    parents: Collection[str] | None,
) -> Sequence[pathlib.PurePath]:
    """The files of the first of `keys` that has any in folders called `parents`."""
    for key in keys:
        files = index.get(key, ())
        files = files if parents is None else _in_folders(files, parents)
        if files:
            return files
    return ()


def _in_folders(
    files: Sequence[pathlib.PurePath], parents: Collection[str]
) -> Sequence[pathlib.PurePath]:
    folded = {fold_name(parent) for parent in parents}
    for chosen in (
        [file for file in files if file.parent.name in parents],
        [file for file in files if fold_name(file.parent.name) in folded],
        [file for file in files if len(file.parts) == 1],
    ):
        if chosen:
            return chosen
    return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _other_kind(entry: os.DirEntry[str]) -> str | None:
    """What a file that is no video is counted as: "" as nothing; None if it is a video."""
    ending = os.path.splitext(entry.name)[1].lower()
    hidden = entry.name.startswith(".")
    if ending not in VIDEO_EXTENSIONS:
        # Keypoints next to a video are read with it; hidden files that are no videos are
        # the system's.
        counted = not hidden and not entry.name.endswith(KEYPOINTS_ENDING)
        return (ending or "without an ending") if counted else ""
    if hidden:
        return f"hidden {ending}"
    if ending == ".webp" and _is_still_picture(entry.path):
        return ".webp of one picture"  # thumbnails that downloaders put next to videos
    # A broken link is a video that cannot be read, and is reported as such.
    return None if entry.is_symlink() or _is_file(entry) else "device(s) or pipe(s)"


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_still_picture(path: str) -> bool:
    """Whether a WebP file lacks the flag of animation in its extended header."""
    try:
        with open(path, "rb") as file:
            header = file.read(21)
    except OSError:
        return False
    return header[8:12] == b"WEBP" and not (header[12:16] == b"VP8X" and header[20] & 2)


def _with_left_out(left_out: Mapping[str, int]) -> str:
    return f" ({_counts(left_out)})" if left_out else ""


def _counts(left_out: Mapping[str, int]) -> str:
    ordered = sorted(left_out.items(), key=lambda kind: -kind[1])
    parts = [f"{count} {kind}" for kind, count in ordered[:_KINDS_SHOWN]]
    rest = sum(count for _, count in ordered[_KINDS_SHOWN:])
    return ", ".join([*parts, f"{rest} with other endings"] if rest else parts)


def _be(number: int) -> str:
    return "is" if number == 1 else "are"
