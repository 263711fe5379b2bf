"""MPEG-4 files, written a frame at a time and complete when they appear."""

from __future__ import annotations

import os
import pathlib

import cv2
import numpy as np

from perfnet_tf.errors import InputError


class VideoFile:
    """An MPEG-4 file that is being written; a context manager.

    The file appears under its name when it is complete.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float) -> None:
        """Names the file; the first frame decides its size.

        Raises:
            InputError: `path` does not end in `.mp4`.
        """
        self.path = pathlib.Path(path)
        check_video_output(self.path)
        self._partial = self.path.with_suffix(".partial.mp4")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> VideoFile:
        return self

    def write(self, frame: np.ndarray) -> None:
        """Appends uint8 RGB `[height, width, 3]`; odd sizes lose a row or column.

        Raises:
            InputError: the file cannot be written.
        """
        # The MPEG-4 encoder needs even sizes.
        height, width = (max(2, side // 2 * 2) for side in frame.shape[:2])
        if self._writer is None:
            self._writer = self._open((width, height))
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        self._writer.write(np.ascontiguousarray(picture[:height, :width]))

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path} cannot be written: {error.strerror}.") from error
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(self._partial), fourcc, self._fps, size)
        if not writer.isOpened():
            raise InputError(f"{self.path} cannot be written: OpenCV opens no video there.")
        return writer

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._writer is None:
            return
        self._writer.release()
        # What a camera has seen until Ctrl-C is wanted; half a file is not.
        if error is None or issubclass(error, (KeyboardInterrupt, GeneratorExit)):
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def check_picture_or_video_output(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` unless `path` ends in `.png` or `.mp4`."""
    if pathlib.Path(path).suffix not in (".png", ".mp4"):
        raise InputError(f"output must be FILE.png or FILE.mp4. Received: {os.fspath(path)!r}.")


def check_video_output(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` unless `path` ends in `.mp4`."""
    if pathlib.Path(path).suffix != ".mp4":
        raise InputError(f"A video is written as FILE.mp4. Received: {os.fspath(path)!r}.")
