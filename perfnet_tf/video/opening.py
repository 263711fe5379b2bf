"""Opens video files that may be anything: FFmpeg is asked only about what may be a video."""

from __future__ import annotations

import codecs
import contextlib
import os
import pathlib
from collections.abc import Iterator

import cv2

from perfnet_tf.errors import InputError, is_utf8

#: How what FFmpeg follows to other files begins: an HLS or a "concat" list, XML, a session.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<", b"v=0")


class VideoError(InputError):
    """A file that gives no frame, with the reason in one line."""


def open_capture(path: pathlib.Path) -> cv2.VideoCapture:
    """Opens a video file by FFmpeg.

    Text and playlists, devices, pipes and folders are refused before FFmpeg sees them.

    Raises:
        VideoError: it is none of a file, readable, and a video; or its name is not UTF-8.
    """
    if not is_utf8(path):  # it would crash OpenCV
        raise VideoError(f"The name of a video must be UTF-8. Received: {str(path)!r}. Rename it.")
    if not path.exists():
        raise VideoError(f"A video must be a file. Received: {path}, which does not exist.")
    if not path.is_file():
        raise VideoError(f"A video must be a file. Received: {path}, which is a folder or device.")
    try:
        with open(path, "rb") as file:
            beginning = file.read(4096)
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}.") from error
    if not beginning:
        raise VideoError(f"A video must hold frames. Received: {path}, which is empty (0 bytes).")
    if _is_text(beginning):
        raise VideoError(f"A video file was expected. Received: {path}, which is text.")
    # OpenCV reads this once, when its FFmpeg first opens a file: damaged frames otherwise fill the
    # terminal. An absolute path, so that no name is taken for a protocol ("concat:...").
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    with _silence():
        capture = cv2.VideoCapture(str(path.absolute()), _backend())
    if not capture.isOpened():
        capture.release()
        raise VideoError(
            f"A video file was expected. Received: {path}, which OpenCV cannot open: it is no "
            "video, is cut off before its index, or needs a codec that OpenCV lacks."
        )
    return capture


def _backend() -> int:
    # The image backend would take "shot_001.jpg" for a film of all that are numbered like it.
    backends = cv2.videoio_registry.getStreamBackends()
    return cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in backends else cv2.CAP_ANY


def _is_text(beginning: bytes) -> bool:
    """Whether a file begins as text.

    FFmpeg draws text files as terminal output, a video of letters, and follows playlists to other
    files, also such as are no UTF-8 or hold a zero byte.
    """
    if beginning.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_PLAYLISTS):
        return True
    try:
        # Incremental: the last character may be cut in half.
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(beginning)
    except UnicodeDecodeError:
        return False


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    logging = cv2.utils.logging
    level = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(level)
