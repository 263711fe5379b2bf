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

import contextlib
import os
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.video.opening import VideoError, open_capture
from perfnet_tf.video.sampling import FrameClock, GridResampler

#: Longest side of a frame in pixels, and most pixels in one, that are decoded or made; 8K has
#: 7680x4320, half as many. A damaged header may ask for 800 MB a frame.
MAX_SIDE = 16384
MAX_PIXELS = 2**26

#: A header may promise this many frames, and this share of them, more than decode before the file
#: counts as truncated: 1 % of UCF-101's headers are wrong by 1 to 8 frames with nothing missing.
COUNT_TOLERANCE = 8
COUNT_TOLERANCE_SHARE = 0.05

#: For a file that states no frame rate and has no timestamps (our choice; UCF-101's and PAL's).
DEFAULT_FPS = 25.0

_USABLE_FPS = (0.1, 1000.0)
_SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


@dataclass(frozen=True, eq=False)
class Video:
    """A decoded video.

    Attributes:
        frames: uint8 `[frames, height, width, 3]`, RGB, 0..255.
        timestamps: float64 `[frames]`, seconds from the first frame, rising from 0.
        source_fps: frames per second of the file.
        num_source_frames: frames that decoded (up to where `max_frames` stopped).
        truncated: the header promises clearly more frames than decode: over 8 frames, and over 5 %,
            both in number and in playing time. False where a limit stopped the decoding.
        stopped: `max_frames` or `max_bytes` stopped the decoding before the end of the file.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    source_fps: float
    num_source_frames: int
    truncated: bool
    stopped: bool = False


def read_video(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> Video:
    """Reads a video; resamples and resizes it while decoding, so memory holds the result only.

    Frames of more than `MAX_SIDE` pixels a side or `MAX_PIXELS` pixels are refused.

    Args:
        path: a video file.
        fps: frames per second of the result. At each time k / fps is the last source frame due by
            then; frames repeat or drop out, none is blended. None keeps the source's frames.
        short_side: pixels of the shorter side wanted, keeping the aspect ratio (area interpolation
            down, linear up). None keeps the size.
        max_frames: stop after this many resulting frames.
        max_bytes: stop before the resulting frames take more than this, but not before the first.

    Returns:
        The video, with at least one frame. A broken file gives what decodes, and `truncated`.

    Raises:
        VideoError: no file, no video, no frame in it, or frames of an absurd size.
        InputError: an argument is out of range.
    """
    _check_wanted(fps, short_side)
    for name, value in (("max_frames", max_frames), ("max_bytes", max_bytes)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1. Received: {value!r}.")

    frames: list[np.ndarray] = []
    times: list[float] = []
    decoder = _Decoder(path)
    stopped = False
    with contextlib.closing(decoder):
        limit = sys.maxsize if max_frames is None else max_frames
        for time, repeats, frame in _resampled(decoder, fps):
            rgb = _to_rgb(frame, _target_size(frame, short_side, path))
            if max_bytes is not None and not frames:
                limit = min(limit, max(1, max_bytes // rgb.nbytes))
            stopped = len(frames) + repeats > limit
            for _ in range(min(repeats, limit - len(frames))):
                times.append(time if fps is None else len(frames) / fps)
                frames.append(rgb)
            # One more frame than fits tells a video that is longer from one that ends there.
            if stopped:
                break
    return Video(
        frames=_stack(frames),
        timestamps=np.array(times),
        source_fps=decoder.source_fps,
        num_source_frames=decoder.num_decoded,
        truncated=decoder.truncated,
        stopped=stopped,
    )


class VideoStream:
    """A video frame by frame, resampled and resized as `read_video` does, one frame in memory.

        with VideoStream("clip.mp4", fps=25, short_side=256) as video:
            for frame in video.frames():
                ...

    A stream is read once.

    Attributes:
        source_fps, num_source_frames, truncated: as of `Video`, of what has been read so far.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float | None = None,
        short_side: int | None = None,
    ) -> None:
        """Opens a video; arguments and errors as of `read_video`.

        A file without any frame that decodes raises only when it is read.
        """
        _check_wanted(fps, short_side)
        self._fps = fps
        self._short_side = short_side
        self._decoder = _Decoder(path)

    def __enter__(self) -> VideoStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def frames(self, first: int = 0) -> Iterator[np.ndarray]:
        """uint8 RGB `[height, width, 3]` of frame `first` and those after it.

        Frame k is at k / fps seconds. Those before the first are decoded only.
        """
        position = 0
        for _, repeats, frame in _resampled(self._decoder, self._fps):
            position += repeats
            if position <= first:
                continue
            rgb = _to_rgb(frame, _target_size(frame, self._short_side, self._decoder.path))
            for _ in range(min(repeats, position - first)):
                yield rgb

    def count(self, limit: int = sys.maxsize) -> int:
        """How many frames there are, at most `limit`; reads the stream to find out."""
        number = 0
        for _, repeats, _ in _resampled(self._decoder, self._fps):
            number += repeats
            if number >= limit:
                return limit
        return number

    @property
    def source_fps(self) -> float:
        """Frames a second of the file."""
        return self._decoder.source_fps

    @property
    def num_source_frames(self) -> int:
        """Frames decoded so far."""
        return self._decoder.num_decoded

    @property
    def truncated(self) -> bool:
        """As of `Video`; False before the end is reached."""
        return self._decoder.truncated


class _Decoder:
    """Iterates over (seconds, BGR frame) of a file, and knows what it has seen."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self._capture = open_capture(self.path)
        size = [int(self._capture.get(side)) for side in _SIZE]
        try:
            self._check_size(*size)
        except VideoError:
            self.close()
            raise
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self._stated_fps = fps if _USABLE_FPS[0] <= fps <= _USABLE_FPS[1] else None
        self._promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)  # negative: not known
        #: Seconds that a frame is shown if nothing follows it.
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
                self._check_size(*frame.shape[1::-1])
                frame = cv2.resize(frame, shape[1::-1], interpolation=cv2.INTER_AREA)
            yield self._last_time, frame
        self._finished = True
        if not self.num_decoded:
            raise VideoError(
                f"A video must hold at least one frame that decodes. Received: {self.path}, "
                "in which none does. It may be cut off or need a codec that OpenCV lacks."
            )

    def _check_size(self, width: int, height: int) -> None:
        if not (0 < min(width, height) <= max(width, height) <= MAX_SIDE) or (
            width * height > MAX_PIXELS
        ):
            raise VideoError(
                f"A video's sides must be 1 to {MAX_SIDE} pixels, and {MAX_PIXELS} pixels in all "
                f"at most. Received: {self.path}, which says {width}x{height}. The file may be "
                "damaged."
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


def _check_wanted(fps: float | None, short_side: int | None) -> None:
    if fps is not None and not 0 < fps <= _USABLE_FPS[1]:
        raise InputError(f"fps must be in (0, {_USABLE_FPS[1]:.0f}]. Received: {fps!r}.")
    if short_side is not None and not 1 <= short_side <= MAX_SIDE:
        raise InputError(f"short_side must be in [1, {MAX_SIDE}]. Received: {short_side!r}.")


def _resampled(decoder: _Decoder, fps: float | None) -> Iterator[tuple[float, int, np.ndarray]]:
    """(time, repeats on the output grid, frame), for frames that are kept."""
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
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise VideoError(
            f"A resized side must be at most {MAX_SIDE} pixels, and {MAX_PIXELS} pixels in all. "
            f"Received: {path}, {width}x{height}, which a shorter side of {short_side} makes "
            f"{size[0]}x{size[1]}."
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
