"""A part of a video, from one time to another."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame

from perfnet_tf.video.decode import Video, resample_frames
from perfnet_tf.video.opening import VideoError
from perfnet_tf.video.reader import FrameReader
from perfnet_tf.video.sampling import TIME_TOLERANCE
from perfnet_tf.video.skipping import Skip, SkipError, plan_skip

#: A video may end this many seconds, and this share of the segment, before the segment does:
#: annotations are rounded.
_ROUNDING = 0.5
_ROUNDING_SHARE = 0.1
#: Seconds before a segment that are decoded in any case.
_MARGIN = 0.5


def read_segment(
    path: str | os.PathLike[str],
    start: float,
    end: float,
    *,
    fps: float | None = None,
    short_side: int | None = None,
    square_pixels: bool = True,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> tuple[Video, bool]:
    """Reads the frames of a video that are shown from `start` to before `end`.

    Decoding begins at the key frame before the segment where the file allows (`video.skipping`),
    else at the start of the video; the frames are the same.

    Args:
        path: a video file.
        start, end: seconds from the beginning of the video.
        fps: frames per second of the result: those of `read_video` at the times k / fps within the
            segment. None takes the frames that begin within it.
        short_side, square_pixels, max_frames, max_bytes: as of `read_video`.

    Returns:
        The segment, its timestamps and source indices counted from the beginning of the video; and
        whether the video ends clearly before the segment.

    Raises:
        VideoError: as `read_video`, or the video has no frame in the segment.
    """
    limits = (fps, short_side, square_pixels, max_frames, max_bytes)
    skip = plan_skip(path, start - _MARGIN) if start > _MARGIN else None
    if skip is not None:
        with contextlib.suppress(SkipError):
            return _read(path, start, end, skip, *limits)
    return _read(path, start, end, None, *limits)


def _read(
    path: str | os.PathLike[str],
    start: float,
    end: float,
    skip: Skip | None,
    fps: float | None,
    short_side: int | None,
    square_pixels: bool,
    max_frames: int | None,
    max_bytes: int | None,
) -> tuple[Video, bool]:
    frames: list[np.ndarray] = []
    times: list[float] = []
    indices: list[int] = []
    reader = FrameReader(path, square_pixels=square_pixels, skip=skip)
    limit = sys.maxsize if max_frames is None else max_frames
    stopped = False
    with contextlib.closing(reader):
        for index, time, repeats, frame in _within(reader, start, end, fps):
            rgb = reader.picture(frame, short_side)
            if max_bytes is not None and not frames:
                limit = min(limit, max(1, max_bytes // rgb.nbytes))
            stopped = len(frames) + repeats > limit
            for number in range(min(repeats, limit - len(frames))):
                times.append(time if fps is None else time + number / fps)
                frames.append(rgb)
                indices.append(index)
            if stopped:
                break
    if not frames:
        raise VideoError(
            f"A segment must hold frames of its video. Received: {path}, which has none from "
            f"{start:g} to {end:g} s."
        )
    missing = end - times[-1] - 1 / (fps or reader.source_fps)
    result = Video(
        timestamps=np.array(times),
        source_fps=reader.source_fps,
        num_source_frames=reader.num_decoded,
        truncated=False,
        stopped=stopped,
        deinterlaced=reader.deinterlaced,
        source_indices=np.array(indices, np.int64),
        frames=stack_frames(frames),  # last: it empties the list
    )
    return result, not stopped and missing > max(_ROUNDING, _ROUNDING_SHARE * (end - start))


def frames_between(start: float, end: float, fps: float) -> tuple[int, int]:
    """The first frame k with `start` <= k / fps, and the first with `end` <= k / fps."""
    first, stop = (math.ceil((time - TIME_TOLERANCE) * fps) for time in (start, end))
    return max(0, first), max(first + 1, stop)


def stack_frames(frames: list[np.ndarray]) -> np.ndarray:
    """As `np.stack`, but empties the list as it goes: np.stack holds everything twice."""
    result = np.empty((len(frames), *frames[0].shape), np.uint8)
    for index in range(len(frames) - 1, -1, -1):
        result[index] = frames.pop()
    return result


def _within(
    reader: FrameReader, start: float, end: float, fps: float | None
) -> Iterator[tuple[int, float, int, VideoFrame]]:
    """As `resample_frames`, what is between the times; the time is that of the first repeat."""
    if fps is None:
        for index, time, repeats, frame in resample_frames(reader, None):
            if time >= end - TIME_TOLERANCE:
                return
            if time >= start - TIME_TOLERANCE:
                yield index, time, repeats, frame
        return
    first, stop = frames_between(start, end, fps)
    position = 0
    for index, _, repeats, frame in resample_frames(reader, fps):
        begin, position = max(position, first), position + repeats
        if position > begin and begin < stop:
            yield index, begin / fps, min(position, stop) - begin, frame
        if position >= stop:
            return
