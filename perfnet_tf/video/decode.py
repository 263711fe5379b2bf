"""Videos as RGB frames, through PyAV: any container and codec that its FFmpeg reads.

What is promised about every file:

- The first video stream is read; cover pictures are none.
- Frames are counted by decoding, and those that an edit list hides (a clip that was cut without
  encoding it again) are not shown. A header's duration only serves to notice that a file broke off.
- Time comes from the timestamps in the file, so variable frame rates keep their speed; where a
  timestamp is unusable the frame rate stands in for it (`perfnet_tf.video.sampling.FrameClock`).
- Frames are shown as a player shows them: turned and mirrored by the display matrix
  (`video.orientation`), interlaced ones deinterlaced (`video.deinterlacing`), pixels that are not
  square at their display shape (`square_pixels`), in the colours of the stream's matrix and range,
  HDR tone-mapped (`video.colour`).
- A stream that changes its size, or the shape of its pixels, keeps the first; later frames are
  fitted into it, black around.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame

from perfnet_tf.errors import InputError
from perfnet_tf.video.opening import VideoError
from perfnet_tf.video.reader import USABLE_FPS, FrameReader
from perfnet_tf.video.sampling import GridResampler, JitterGuard
from perfnet_tf.video.shapes import check_short_side

#: Of the array for the frames, before more of them come than fit.
_FIRST_BYTES = 2**28

__all__ = ["Video", "VideoError", "VideoStream", "read_video", "resample_frames"]


@dataclass(frozen=True, eq=False)
class Video:
    """A decoded video.

    Attributes:
        frames: uint8 `[frames, height, width, 3]`, RGB, 0..255.
        timestamps: float64 `[frames]`, seconds from the first frame, rising from 0.
        source_indices: int64 `[frames]`, which of the decoded frames each one is.
        source_fps: frames per second of the file.
        num_source_frames: frames that decoded (up to where `max_frames` stopped).
        truncated: the header promises a clearly longer video than decodes: over 8 frames, and over
            5 %. False where a limit stopped the decoding.
        stopped: `max_frames` or `max_bytes` stopped the decoding before the end of the file.
        deinterlaced: interlaced frames were among those decoded.
    """

    frames: np.ndarray
    timestamps: np.ndarray
    source_indices: np.ndarray
    source_fps: float
    num_source_frames: int
    truncated: bool
    stopped: bool = False
    deinterlaced: bool = False


def read_video(
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    short_side: int | None = None,
    square_pixels: bool = True,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> Video:
    """Reads a video; resamples and resizes it while decoding, so memory holds the result only.

    Frames of more than `video.shapes.MAX_SIDE` pixels a side or `MAX_PIXELS` pixels are refused.

    Args:
        path: a video file.
        fps: frames per second of the result. At each time k / fps is the last source frame due by
            then, or the nearest where the video's own times jitter (`video.sampling.JitterGuard`);
            frames repeat or drop out, none is blended. None keeps the source's frames.
        short_side: pixels of the shorter side wanted, keeping the aspect ratio (area interpolation
            down, linear up). None keeps the size.
        square_pixels: pixels that are not square (DV, DVD) are stretched to the shape in which
            players show them; False keeps the stored shape.
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

    times: list[float] = []
    indices: list[int] = []
    reader = FrameReader(path, square_pixels=square_pixels)
    frames = _Frames(reader.expect_frames(fps))
    stopped = False
    with contextlib.closing(reader):
        limit = sys.maxsize if max_frames is None else max_frames
        for index, time, repeats, frame in resample_frames(reader, fps):
            if not frames.count:
                shape = reader.picture_shape(short_side)
                if max_bytes is not None:
                    limit = min(limit, max(1, max_bytes // math.prod(shape)))
            stopped = frames.count + repeats > limit
            repeats = min(repeats, limit - frames.count)
            for number in range(frames.count, frames.count + repeats):
                times.append(time if fps is None else number / fps)
                indices.append(index)
            if repeats:
                reader.picture(frame, short_side, out=frames.place(shape, repeats))
                frames.keep(repeats)
            # One more frame than fits tells a video that is longer from one that ends there.
            if stopped:
                break
    return Video(
        frames=frames.array(),
        timestamps=np.array(times),
        source_fps=reader.source_fps,
        num_source_frames=reader.num_decoded,
        truncated=reader.truncated,
        stopped=stopped,
        deinterlaced=reader.deinterlaced,
        source_indices=np.array(indices, np.int64),
    )


class VideoStream:
    """A video frame by frame, resampled and resized as `read_video` does, one frame in memory.

        with VideoStream("clip.mp4", fps=25, short_side=256) as video:
            for frame in video.frames():
                ...

    A stream is read once.

    Attributes:
        source_fps, num_source_frames, truncated, deinterlaced: as of `Video`, of what has been read
            so far.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float | None = None,
        short_side: int | None = None,
        square_pixels: bool = True,
    ) -> None:
        """Opens a video; arguments and errors as of `read_video`.

        A file without any frame that decodes raises only when it is read.
        """
        _check_wanted(fps, short_side)
        self._fps = fps
        self._short_side = short_side
        self._reader = FrameReader(path, square_pixels=square_pixels)

    def __enter__(self) -> VideoStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def frames(self, first: int = 0) -> Iterator[np.ndarray]:
        """uint8 RGB `[height, width, 3]` of frame `first` and those after it.

        Frame k is at k / fps seconds. Those before the first are decoded only.
        """
        position = 0
        for _, _, repeats, frame in resample_frames(self._reader, self._fps):
            position += repeats
            if position <= first:
                continue
            rgb = self._reader.picture(frame, self._short_side)
            for _ in range(min(repeats, position - first)):
                yield rgb

    def count(self, limit: int = sys.maxsize) -> int:
        """How many frames there are, at most `limit`; reads the stream to find out."""
        number = 0
        for _, _, repeats, _ in resample_frames(self._reader, self._fps):
            number += repeats
            if number >= limit:
                return limit
        return number

    @property
    def source_fps(self) -> float:
        """Frames per second of the file."""
        return self._reader.source_fps

    @property
    def num_source_frames(self) -> int:
        """Frames decoded so far."""
        return self._reader.num_decoded

    @property
    def truncated(self) -> bool:
        """As of `Video`; False before the end is reached."""
        return self._reader.truncated

    @property
    def deinterlaced(self) -> bool:
        """As of `Video`."""
        return self._reader.deinterlaced


def _check_wanted(fps: float | None, short_side: int | None) -> None:
    if fps is not None and not 0 < fps <= USABLE_FPS[1]:
        raise InputError(f"fps must be in (0, {USABLE_FPS[1]:.0f}]. Received: {fps!r}.")
    check_short_side(short_side)


def resample_frames(
    reader: FrameReader, fps: float | None
) -> Iterator[tuple[int, float, int, VideoFrame]]:
    """(index, time, repeats on the output grid, frame), for frames that are kept.

    Args:
        reader: an open file.
        fps: of the grid; None keeps every frame, once.
    """
    if fps is None:
        for index, (time, frame) in enumerate(reader):
            yield index, time, 1, frame
        return
    grid, guard = GridResampler(fps), JitterGuard(fps)
    shown: tuple[int, float, VideoFrame] | None = None
    for index, (time, frame) in enumerate(reader):
        due = guard.due(time)
        if shown is not None and (repeats := grid.advance(due)):
            yield shown[0], shown[1], repeats, shown[2]
        shown = index, time, frame
    if shown is not None:
        repeats = grid.advance(shown[1] + reader.last_interval)
        if repeats or not grid.num_counted:
            yield shown[0], shown[1], max(1, repeats), shown[2]


class _Frames:
    """Frames in one array that grows: none is held twice."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._array: np.ndarray | None = None
        self.count = 0

    def place(self, shape: tuple[int, int, int], repeats: int) -> np.ndarray:
        """Where the next frame is to be written, `[height, width, 3]`."""
        needed = self.count + repeats
        if self._array is None:
            # Of a long video at first a part only: headers may promise anything.
            room = max(needed, min(self._expected, _FIRST_BYTES // math.prod(shape)))
            self._array = np.empty((room, *shape), np.uint8)
        elif needed > len(self._array):
            grown = np.empty((max(needed, len(self._array) * 3 // 2), *shape), np.uint8)
            grown[: self.count] = self._array[: self.count]
            self._array = grown
        return np.asarray(self._array[self.count])

    def keep(self, repeats: int) -> None:
        """Keeps the frame that was written, `repeats` times."""
        assert self._array is not None
        end = self.count + repeats
        self._array[self.count + 1 : end] = self._array[self.count]
        self.count = end

    def array(self) -> np.ndarray:
        """uint8 `[frames, height, width, 3]`."""
        assert self._array is not None
        return self._array[: self.count]
