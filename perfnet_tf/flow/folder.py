"""A folder of optical flow that other programs computed: which files are a clip's.

| below the folder                                            | written by                       |
|-------------------------------------------------------------|----------------------------------|
| `CLASS/CLIP/flow_x_00001.jpg`, `flow_y_00001.jpg`           | dense_flow, denseflow, mmaction2 |
| `CLASS/CLIP/x_00001.jpg`, `y_00001.jpg`                     | the same, shortened              |
| `u/CLASS/CLIP/frame000001.jpg`, `v/CLASS/CLIP/...`          | gpu_flow, twostreamfusion        |
| `CLASS/CLIP/frame_0001.flo`                                 | Middlebury, Sintel, RAFT ...     |
| `CLASS/CLIP.npy`, float `[frames, height, width, 2]`        | NumPy                            |

CLASS may be missing. Numbers rise by one from any first; other files in a clip's folder, such as
`img_00001.jpg`, do not matter. Pictures may be JPEG or PNG. `flow.stored_files` has the conventions
of the 8-bit pictures.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.flow.stored_files import FILES_BOUND, FILES_ZERO, levels_to_flow, read_flo
from perfnet_tf.video.picture_files import read_picture

#: What the pictures of the two components are called, or the folders above them.
_PAIRS = (("flow_x", "flow_y"), ("x", "y"), ("u", "v"))
_PICTURE = re.compile(r"(.*?)_?(\d+)\.(?:jpe?g|png)", re.IGNORECASE)
_FLO = re.compile(r"(.*?)_?(\d+)\.flo", re.IGNORECASE)


@dataclass(frozen=True)
class StoredFlow:
    """The flow of a clip.

    Attributes:
        path: where it is.
        num_frames: how many.
        read_frame: number of a frame -> float32 `[height, width, 2]`, (dx, dy).
    """

    path: pathlib.Path
    num_frames: int
    read_frame: Callable[[int], np.ndarray]

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 `[frames, height, width, 2]`, (dx, dy) in pixels per frame.

        Args:
            start, stop: the first frame, and the one after the last.

        Raises:
            InputError: a file that cannot be read, or frames of several sizes.
        """
        frames = [self.read_frame(number) for number in range(start, stop)]
        sizes = {frame.shape[1::-1] for frame in frames}
        if len(sizes) > 1:
            shown = " and ".join(f"{width}x{height}" for width, height in sorted(sizes))
            raise InputError(f"Flow of a clip has one size. Received: {self.path} with {shown}.")
        return np.stack(frames)


class FlowFolder:
    """Finds the flow of clips."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        bound: float = FILES_BOUND,
        zero: float = FILES_ZERO,
    ) -> None:
        """Names a folder.

        Args:
            folder: the folder.
            bound: pixels per frame at the ends of 8-bit pictures.
            zero: the level of no flow in them.
        """
        self.folder = pathlib.Path(folder)
        self._bound = bound
        self._zero = zero

    def find(self, names: Iterable[str]) -> StoredFlow | None:
        """The flow of the first of `names` that there is, or None.

        Args:
            names: such as `CLASS/CLIP` and `CLIP`.

        Raises:
            InputError: files that are not the flow of consecutive frames.
        """
        for name in dict.fromkeys(names):
            found = self._find(name)
            if found is not None:
                return found
        return None

    def _find(self, name: str) -> StoredFlow | None:
        for x, y in _PAIRS:
            pair = self.folder / x / name, self.folder / y / name
            if pair[0].is_dir():
                return self._pictures(pair, *(_numbered(path, _PICTURE) for path in pair))
        array = self.folder / f"{name}.npy"
        if array.is_file():
            return _array(array)
        path = self.folder / name
        if not path.is_dir():
            return None
        files = os.listdir(path)
        for pair_names in _PAIRS:
            both = [_numbered(path, _PICTURE, prefix, files) for prefix in pair_names]
            if both[0] or both[1]:
                return self._pictures((path, path), *both)
        flo = _numbered(path, _FLO, None, files)
        if not flo:
            return None
        _check_consecutive(path, list(flo))
        paths = [flo[number] for number in sorted(flo)]
        return StoredFlow(path, len(flo), lambda number: read_flo(paths[number]))

    def _pictures(
        self,
        folders: tuple[pathlib.Path, pathlib.Path],
        x: dict[int, pathlib.Path],
        y: dict[int, pathlib.Path],
    ) -> StoredFlow:
        if x.keys() != y.keys() or not x:
            raise InputError(
                "Flow has a picture of dx and one of dy for each frame. Received: "
                f"{folders[0]} with {len(x)}, and {folders[1]} with {len(y)}."
            )
        _check_consecutive(folders[0], list(x))
        pairs = [(x[number], y[number]) for number in sorted(x)]

        def read(number: int) -> np.ndarray:
            levels = [read_picture(path, gray=True) for path in pairs[number]]
            if levels[0].shape != levels[1].shape:
                raise InputError(
                    f"Both pictures of a flow have one size. Received: {pairs[number][0]} of "
                    f"{levels[0].shape[1]}x{levels[0].shape[0]}, with dy of "
                    f"{levels[1].shape[1]}x{levels[1].shape[0]}."
                )
            return levels_to_flow(np.stack(levels, axis=-1), self._bound, self._zero)

        return StoredFlow(folders[0], len(pairs), read)


def _numbered(
    folder: pathlib.Path,
    form: re.Pattern[str],
    prefix: str | None = None,
    files: Sequence[str] | None = None,
) -> dict[int, pathlib.Path]:
    """Number -> file, of those of the form whose name begins with `prefix` (None: with any)."""
    found: dict[int, pathlib.Path] = {}
    if files is None:
        files = os.listdir(folder) if folder.is_dir() else ()
    for file in files:
        match = form.fullmatch(file)
        if match and prefix in (None, match[1].lower()):
            number = int(match[2])
            if number in found:
                raise InputError(
                    f"Each frame has one file. Received: {folder} with {found[number].name} and "
                    f"{file}."
                )
            found[number] = folder / file
    return found


def _check_consecutive(path: pathlib.Path, numbers: Sequence[int]) -> None:
    first, last = min(numbers), max(numbers)
    missing = sorted(set(range(first, last + 1)) - set(numbers))
    if missing:
        raise InputError(
            f"Flow files are numbered without a gap. Received: {path}, which lacks {len(missing)} "
            f"of {last - first + 1}, the first being number {missing[0]}."
        )


def _array(path: pathlib.Path) -> StoredFlow:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable array: {error}.") from error
    if values.ndim != 4 or values.shape[-1] != 2 or values.dtype.kind != "f" or not values.size:
        raise InputError(
            "An array of flow is float [frames, height, width, 2]. Received: "
            f"{path} with {values.dtype} {list(values.shape)}."
        )

    def read(number: int) -> np.ndarray:
        frame = np.array(values[number], np.float32)
        if not np.isfinite(frame).all():
            raise InputError(f"Flow must be finite. Received: {path}, where frame {number} is not.")
        return frame

    return StoredFlow(path, len(values), read)
