"""Where keypoints of many clips are, and how those of one are found."""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints

T = TypeVar("T")


class KeypointSource(Protocol):
    """Keypoints of many clips."""

    def find(self, clip_id: str, video: str) -> Hashable | None:
        """What `read` takes for a clip; None if there is nothing.

        Args:
            clip_id: `Lunges/v_Lunges_g01_c01`.
            video: the video file.
        """
        ...

    def read(self, found: Any) -> ClipKeypoints:
        """The keypoints of a clip that `find` found.

        Raises:
            InputError: they are not of the format.
        """
        ...

    def names(self) -> Iterator[str]:
        """Names of some of the clips that are there, for messages."""
        ...


def clip_names(clip_id: str, video: str) -> list[str]:
    """Names under which other programs know a clip, the most exact first.

    PYSKL's scripts cut file names at the first dot, and its NTU RGB+D lacks the files' `_rgb`.
    """
    name = pathlib.PurePath(video).name
    stem = pathlib.PurePath(name).stem
    names = (clip_id, name, stem, name.split(".")[0], stem.removesuffix("_rgb"))
    return list(dict.fromkeys(filter(None, names)))


class FileSource:
    """A file or a folder for each clip."""

    def __init__(
        self,
        root: pathlib.Path,
        patterns: Sequence[str],
        read: Callable[[pathlib.Path], ClipKeypoints],
    ) -> None:
        """Takes what there is.

        Args:
            root: the folder.
            patterns: places within it, with `*` for the clip's name: `*.json`, `*/results.json`.
            read: reads one.

        Raises:
            InputError: `root` is no folder.
        """
        if not root.is_dir():
            raise InputError(f"`keypoints` must be a folder. Received: {root}, a file.")
        self._root, self._patterns, self._read = root, patterns, read

    def find(self, clip_id: str, video: str) -> pathlib.Path | None:
        """See `KeypointSource`."""
        for name in clip_names(clip_id, video):
            folder, _, last = name.rpartition("/")
            for pattern in self._patterns:
                path = self._root / folder / pattern.replace("*", last)
                if path.exists():
                    return path
        return None

    def read(self, found: pathlib.Path) -> ClipKeypoints:
        """See `KeypointSource`."""
        return self._read(found)

    def names(self) -> Iterator[str]:
        """See `KeypointSource`."""
        return (entry.name for entry in os.scandir(self._root))


class IndexedSource(Generic[T]):
    """One file of all clips."""

    def __init__(self, clips: Mapping[str, T], read: Callable[[T], ClipKeypoints]) -> None:
        """Takes clips by name, and what reads one."""
        self._clips, self._read = clips, read
        #: UCF-101 has HandstandPushups and HandStandPushups.
        self._folded = {name.casefold(): name for name in clips}

    def find(self, clip_id: str, video: str) -> str | None:
        """See `KeypointSource`."""
        names = clip_names(clip_id, video)
        exact = next((name for name in names if name in self._clips), None)
        folded = (
            self._folded[name.casefold()] for name in names if name.casefold() in self._folded
        )
        return exact or next(folded, None)

    def read(self, found: str) -> ClipKeypoints:
        """See `KeypointSource`."""
        return self._read(self._clips[found])

    def names(self) -> Iterator[str]:
        """See `KeypointSource`."""
        return iter(self._clips)


class FrameFileSource:
    """A file for each frame: in a folder for each clip, or those of all clips in one folder."""

    def __init__(
        self,
        root: pathlib.Path,
        pattern: str,
        read: Callable[[Mapping[int, pathlib.Path]], ClipKeypoints],
        *,
        subfolders: Sequence[str] = (),
    ) -> None:
        """Lists the files that are in `root` itself.

        Args:
            root: the folder.
            pattern: regular expression of a file's whole name, with the groups `name` and `frame`.
            read: reads a clip's files, by the number in their names.
            subfolders: also look for files in these folders, of `root` and of a clip's folder.
        """
        if not root.is_dir():
            raise InputError(f"`keypoints` must be a folder. Received: {root}, a file.")
        self._root, self._pattern, self._read = root, re.compile(pattern), read
        self._subfolders = ("", *subfolders)
        self._together = self._list(root)

    def _list(self, folder: pathlib.Path) -> dict[str, dict[int, pathlib.Path]]:
        clips: dict[str, dict[int, pathlib.Path]] = {}
        for subfolder in self._subfolders:
            if not (folder / subfolder).is_dir():
                continue
            for entry in os.scandir(folder / subfolder):
                if match := self._pattern.fullmatch(entry.name):
                    frames = clips.setdefault(match["name"] or "", {})
                    frames[int(match["frame"])] = pathlib.Path(entry.path)
        return clips

    def find(self, clip_id: str, video: str) -> str | None:
        """See `KeypointSource`."""
        for name in clip_names(clip_id, video):
            if name in self._together or (self._root / name).is_dir():
                return name
        return None

    def read(self, found: str) -> ClipKeypoints:
        """See `KeypointSource`."""
        clips = {}
        if found in self._together:
            clips = {found: self._together[found]}
        else:
            clips = self._list(self._root / found)
        if len(clips) != 1:
            raise InputError(
                f"A folder of a clip's keypoints must hold the files of one video. Received: "
                f"{self._root / found} with {len(clips)}."
            )
        (files,) = clips.values()
        return self._read(files)

    def names(self) -> Iterator[str]:
        """See `KeypointSource`."""
        yield from self._together
        yield from (entry.name for entry in os.scandir(self._root) if entry.is_dir())


def first_number(numbers: Sequence[int]) -> int:
    """What the first frame is called, given the numbers that are there: 0, else 1.

    Programs that read videos count from 0, sequences of pictures mostly from 1.
    """
    return 0 if min(numbers, default=0) == 0 else 1


def in_order(people: Mapping[int, np.ndarray], first: int) -> list[np.ndarray]:
    """Frames by number -> a list with empty frames where there is none.

    Args:
        people: number of the frame -> `[people, 17, 3]`.
        first: number of the first frame.
    """
    nobody = np.zeros((0, 17, 3))
    return [people.get(number, nobody) for number in range(first, max(people, default=-1) + 1)]


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"The keypoint file {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"The keypoint file {path} is not JSON: {error}.") from error


def as_numbers(values: Any, where: str, *, dimensions: int) -> np.ndarray:
    """Nested lists as float64.

    Raises:
        InputError: they are ragged, hold no numbers, or have another number of dimensions.
    """
    try:
        result = np.array(values, np.float64)
    except (TypeError, ValueError):
        result = np.zeros(0)
    if result.ndim != dimensions:
        raise InputError(f"Keypoints must be lists of numbers of one length. Received: {where}.")
    return result
