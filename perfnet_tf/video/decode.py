"""Videos as RGB frames, through OpenCV: any container and codec that its FFmpeg reads.

What is promised about every file:

- Frames are counted by decoding. A header's count is only used to notice that a file broke off.
- Time comes from the timestamps in the file, so variable frame rates keep their speed; where a
  timestamp is unusable the frame rate stands in for it (`perfnet_tf.video.sampling.FrameClock`).
- Rotation metadata is honoured (by OpenCV itself): a phone's portrait video comes upright.
- Pixels are taken as square; a container's sample aspect ratio is not applied (as in every
  dataset's reference preprocessing that we know).
"""

from __future__ import annotations

import codecs
import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.video.sampling import FrameClock, GridResampler

#: Longest side of a frame in pixels that is decoded or made. FFmpeg would take 2**15 x 2**15,
#: 3 GiB a frame, from a damaged header.
MAX_SIDE = 16384

#: A header may promise this many frames, and this share of them, more than decode before the file
#: counts as truncated: 1 % of UCF-101's headers are wrong by 1 to 8 frames with nothing missing.
COUNT_TOLERANCE = 8
COUNT_TOLERANCE_SHARE = 0.05

#: For a file that states no frame rate and has no timestamps (our choice; UCF-101's and PAL's).
DEFAULT_FPS = 25.0

_USABLE_FPS = (0.1, 1000.0)
_SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


class VideoError(InputError):
    """A file that gives no frame, with the reason in one line."""


@dataclass(frozen=True, eq=False)
class Video:
    """A decoded video.

    Attributes:
        frames: uint8 `[frames, height, width, 3]`, RGB, 0..255.
        timestamps: float64 `[frames]`, seconds from the first frame, rising from 0.
        source_fps: frames a second of the file.
        num_source_frames: frames that decoded (up to where `max_frames` stopped).
        truncated: the header promises clearly more frames than decode: over 8 frames, and over 5 %,
            both in number and in playing time. False where `max_frames` stopped the decoding.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    source_fps: float
    num_source_frames: int
    truncated: bool


def read_video(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
) -> Video:
    """Reads a video; resamples and resizes it while decoding, so memory holds the result only.

    Args:
        path: a video file.
        fps: frames a second wanted. At each time k / fps stands the last source frame that is due
            by then; frames repeat or drop out, none is blended. None keeps the source's frames.
        short_side: pixels of the shorter side wanted, keeping the aspect ratio (area interpolation
            down, linear up). None keeps the size.
        max_frames: stop after this many resulting frames.

    Returns:
        The video, with at least one frame. A broken file gives what decodes, and `truncated`.

    Raises:
        VideoError: no file, no video, no frame in it, or frames of an absurd size.
        InputError: an argument is out of range.
    """
    if fps is not None and not 0 < fps <= _USABLE_FPS[1]:
        raise InputError(f"fps must be in (0, {_USABLE_FPS[1]:.0f}]. Received: {fps!r}.")
    if short_side is not None and not 1 <= short_side <= MAX_SIDE:
        raise InputError(f"short_side must be in [1, {MAX_SIDE}]. Received: {short_side!r}.")
    if max_frames is not None and max_frames < 1:
        raise InputError(f"max_frames must be at least 1. Received: {max_frames!r}.")

    frames: list[np.ndarray] = []
    times: list[float] = []
    decoder = _Decoder(path)
    with contextlib.closing(decoder):
        limit = sys.maxsize if max_frames is None else max_frames
        for time, repeats, frame in _resampled(decoder, fps):
            rgb = _to_rgb(frame, _target_size(frame, short_side, path))
            for _ in range(min(repeats, limit - len(frames))):
                times.append(time if fps is None else len(frames) / fps)
                frames.append(rgb)
            if len(frames) >= limit:
                break
    return Video(
        frames=_stack(frames),
        timestamps=np.array(times),
        source_fps=decoder.source_fps,
        num_source_frames=decoder.num_decoded,
        truncated=decoder.truncated,
    )


def decode_frames(path: str | os.PathLike[str]) -> Iterator[tuple[float, np.ndarray]]:
    """Every frame of a video in turn: (seconds from the first frame, uint8 RGB `[h, w, 3]`).

    Raises:
        VideoError: as in `read_video`; at once, but for a file without any frame that decodes.
    """
    decoder = _Decoder(path)

    def frames() -> Iterator[tuple[float, np.ndarray]]:
        with contextlib.closing(decoder):
            for time, frame in decoder:
                yield time, _to_rgb(frame, None)

    return frames()


class _Decoder:
    """Iterates over (seconds, BGR frame) of a file, and knows what it has seen."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self._capture = _open(self.path)
        size = [int(self._capture.get(side)) for side in _SIZE]
        if not 0 < min(size) <= max(size) <= MAX_SIDE:
            self.close()
            raise VideoError(
                f"A video's sides must be 1 to {MAX_SIDE} pixels. Received: {self.path}, "
                f"which says {size[0]}x{size[1]}. The file may be damaged."
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._stated_fps = fps if _USABLE_FPS[0] <= fps <= _USABLE_FPS[1] else None
        self._promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)  # negative: not known
        #: Seconds that a frame stands if nothing follows it.
        self.interval = 1 / (self._stated_fps or DEFAULT_FPS)
        self.num_decoded = 0
        self._last_time = 0.0
        self._finished = False

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        clock = FrameClock(self.interval)
        shape = None
        while True:
            read, frame = self._capture.read()
            if not read:
                break
            self.num_decoded += 1
            self._last_time = clock.tick(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            shape = shape or frame.shape
            if frame.shape != shape:  # Streams may change size; a clip has one.
                frame = cv2.resize(frame, shape[1::-1], interpolation=cv2.INTER_AREA)
            yield self._last_time, frame
        self._finished = True
        if not self.num_decoded:
            raise VideoError(
                f"A video must hold at least one frame that decodes. Received: {self.path}, "
                "in which none does. It may be cut off or need a codec that OpenCV lacks."
            )

    @property
    def source_fps(self) -> float:
        if self._stated_fps is not None:
            return self._stated_fps
        if self._last_time > 0:
            return (self.num_decoded - 1) / self._last_time
        return DEFAULT_FPS

    @property
    def truncated(self) -> bool:
        if not self._finished or self._promised <= 0 or self._stated_fps is None:
            return False
        # Matroska has no frame count: OpenCV multiplies duration and frame rate, which is off for
        # variable rates. The playing time is then right, so both must fall short.
        tolerance = max(COUNT_TOLERANCE, COUNT_TOLERANCE_SHARE * self._promised)
        missing = self._promised - self.num_decoded
        played = (self._last_time + self.interval) * self._stated_fps
        return missing > tolerance and self._promised - played > tolerance

    def close(self) -> None:
        self._capture.release()


def _resampled(decoder: _Decoder, fps: float | None) -> Iterator[tuple[float, int, np.ndarray]]:
    """(time, how often it stands on the grid, frame), for frames that do stand on it."""
    if fps is None:
        for time, frame in decoder:
            yield time, 1, frame
        return
    grid = GridResampler(fps)
    shown: tuple[float, np.ndarray] | None = None
    for time, frame in decoder:
        if shown is not None and (repeats := grid.advance(time)):
            yield shown[0], repeats, shown[1]
        shown = time, frame
    if shown is not None:
        repeats = grid.advance(shown[0] + decoder.interval)
        if repeats or not grid.num_counted:
            yield shown[0], max(1, repeats), shown[1]


def _target_size(
    frame: np.ndarray, short_side: int | None, path: str | os.PathLike[str]
) -> tuple[int, int] | None:
    """(width, height) after the resize; None keeps the frame as it is."""
    height, width = frame.shape[:2]
    if short_side is None or short_side == min(height, width):
        return None
    scale = short_side / min(height, width)
    size = (max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)))
    if max(size) > MAX_SIDE:
        raise VideoError(
            f"A resized side must be at most {MAX_SIDE} pixels. Received: {path}, "
            f"{width}x{height}, which a shorter side of {short_side} makes {size[0]}x{size[1]}."
        )
    return size


def _to_rgb(frame: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        shrinks = size[0] < frame.shape[1]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        frame = cv2.resize(frame, size, interpolation=interpolation)
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _stack(frames: list[np.ndarray]) -> np.ndarray:
    """As `np.stack`, but empties the list as it goes: np.stack holds everything twice."""
    result = np.empty((len(frames), *frames[0].shape), np.uint8)
    for index in range(len(frames) - 1, -1, -1):
        result[index] = frames.pop()
    return result


def _open(path: pathlib.Path) -> cv2.VideoCapture:
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
    files.
    """
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
