"""Where decoding may begin for a part of a long video, so that the result is that of all of it.

The packets before the part are read and not decoded: their timestamps are those of the frames that
are left out, so that the numbers and times of frames, and what a grid makes of them, stay the same.
Only files in which every packet states its times, and frames follow from the last key frame:
H.264, HEVC, VP8, VP9 and AV1 in MP4, QuickTime, Matroska and WebM, not interlaced. The frames that
then come are compared with the timestamps of the packets; where they differ, and in every other
file, decoding begins at the start.
"""

from __future__ import annotations

import itertools
import math
import os
import pathlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from perfnet_tf.video import shapes
from perfnet_tf.video.opening import open_video

_FORMATS = {"mov", "matroska"}
_CODECS = {"h264", "hevc", "vp8", "vp9", "av1"}
#: Frames that are decoded rather than skipped: below it opening the file twice does not pay.
_FEWEST = 50
#: Frames by which decoding is ahead of showing, at most: H.264 and HEVC have 16.
_MAX_DELAY = 16
#: Seconds between two frames; a longer pause may be a broken clock, which is decoded as such.
_LONGEST_GAP = 10.0


class SkipError(Exception):
    """Frames after a skip are not those that the file promised: decode from the start."""


@dataclass(frozen=True, eq=False)
class Skip:
    """Frames that are not decoded.

    Attributes:
        first: the first frame of the video, which stands for each of them.
        before: their timestamps in the order of showing, in the stream's unit.
        expected: timestamps of the frames from the key frame on, as far as they are known.
        key: timestamp of the key frame.
    """

    first: VideoFrame
    before: tuple[int, ...]
    expected: tuple[int, ...]
    key: int


def plan_skip(path: str | os.PathLike[str], seconds: float) -> Skip | None:
    """The frames that need not be decoded to show a video from `seconds` on; None: all are.

    Args:
        path: a video file.
        seconds: from its first frame.

    Raises:
        VideoError: as `open_video`.
    """
    container, stream = open_video(pathlib.Path(path), max_pixels=2 * shapes.MAX_PIXELS)
    with container:
        formats = set(container.format.name.split(","))
        if not formats & _FORMATS or stream.codec_context.name not in _CODECS:
            return None
        base = float(stream.time_base or 0)
        if base <= 0:
            return None
        pixel_aspect = stream.codec_context.sample_aspect_ratio
        try:
            plan = _plan(container.demux(stream), seconds, base)
        except (av.FFmpegError, MemoryError):
            return None
        # The shape that a decoder starts with is the one that it finds in the first frame.
        return plan if stream.codec_context.sample_aspect_ratio == pixel_aspect else None


def _plan(packets: Iterator[Packet[Any]], seconds: float, base: float) -> Skip | None:
    first: VideoFrame | None = None
    seen: list[int] = []
    keys: list[int] = []
    decoded = -math.inf
    target: float | None = None
    for packet in packets:
        if packet.pts is None or packet.is_corrupt or packet.is_discard:
            if packet.size:
                return None
            break  # the end of the file
        if not seen and not packet.is_keyframe:
            return None
        if first is None:
            first = next(iter(packet.decode()), None)
            if first is not None:
                if first.interlaced_frame or first.pts is None:
                    return None
                target = first.pts + seconds / base
        seen.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
        if packet.dts is None and len(seen) <= _MAX_DELAY:
            continue  # Matroska's first frames have none
        if packet.dts is None or packet.dts <= decoded:
            return None
        decoded = packet.dts
        # Frames are decoded before they are shown: those until the target have all been seen.
        if target is not None and decoded > target:
            break
    if first is None or target is None:
        return None
    shown = sorted(seen)
    gaps = [after - before for before, after in itertools.pairwise(shown)]
    if shown[0] != first.pts or min(gaps, default=0) <= 0 or max(gaps) * base > _LONGEST_GAP:
        return None
    key = max((key for key in keys if key <= target), default=seen[0])
    number = shown.index(key)
    if number < _FEWEST:
        return None
    expected = tuple(pts for pts in shown[number:] if pts <= target)
    return Skip(first, tuple(shown[:number]), expected, key)
