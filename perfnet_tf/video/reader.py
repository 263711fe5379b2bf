"""Iterates over the frames of a file: their times, and their pictures as a player shows them."""

from __future__ import annotations

import itertools
import math
import os
import pathlib
import re
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from perfnet_tf.video import shapes
from perfnet_tf.video.colour import RgbConverter, tone_map
from perfnet_tf.video.deinterlacing import Deinterlacer
from perfnet_tf.video.opening import VideoError, open_video
from perfnet_tf.video.orientation import Orientation, matrix_from_angle, orientation_from_matrix
from perfnet_tf.video.sampling import MAX_GAP, MAX_STREAM_GAP, FrameClock, Timestamps
from perfnet_tf.video.skipping import Skip, SkipError

#: A header may promise this many frames, and this share of them, more than decode before the file
#: counts as truncated: 1 % of UCF-101's headers are wrong by 1 to 8 frames with nothing missing.
COUNT_TOLERANCE = 8
COUNT_TOLERANCE_SHARE = 0.05

#: For a file that states no frame rate and has no timestamps (our choice; UCF-101's and PAL's).
DEFAULT_FPS = 25.0

#: Frames per second that a file may state.
USABLE_FPS = (0.1, 1000.0)

#: Formats whose header states how long the file is: in frames, for each stream, or for all streams
#: together. Of others FFmpeg estimates it from what is there, which shows nothing missing.
_STATES_COUNT = {"avi"}
_STATES_STREAM_DURATION = {"mov"}
_STATES_DURATION = {"matroska", "flv", "asf", "mxf"}


_CLOCK_RESTARTS: Any = av.format.Flags.ts_discont
_MATRIX = struct.Struct("=9i")


class FrameReader:
    """Iterates over (seconds, frame) of a file, once, and counts what it has read.

    Attributes:
        path: the file.
        num_decoded: frames so far.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        square_pixels: bool = True,
        skip: Skip | None = None,
    ) -> None:
        """Opens a file.

        Args:
            path: the file.
            square_pixels: show pixels that are not square at their display shape.
            skip: frames at the beginning that are not decoded: each comes as the first frame, with
                its own time.

        Raises:
            VideoError: as `open_video`, or frames of an absurd size.
        """
        self.path = pathlib.Path(path)
        self._container, self._stream = open_video(self.path, max_pixels=2 * shapes.MAX_PIXELS)
        codec = self._stream.codec_context
        try:
            if codec.name == "webp" and not codec.width:
                raise VideoError(
                    f"FFmpeg does not decode animated WebP. Received: {self.path}. Convert it to "
                    "GIF or MP4."
                )
            shapes.check_size((codec.width, codec.height), self.path)
        except VideoError:
            self.close()
            raise
        self._square_pixels = square_pixels
        self._skip = skip
        self._stated_fps = _usable_fps(self._stream)
        self._interval = 1 / (self._stated_fps or DEFAULT_FPS)
        self.num_decoded = 0
        self._formats = set(self._container.format.name.split(","))
        self._promise = _Promise(self._container, self._stream, self._formats)
        self._deinterlacer = Deinterlacer()
        self._convert = RgbConverter()
        self._orientation: Orientation | None = None
        self._stored: shapes.Size = (0, 0)  # of the first frame
        self._pixel_aspect: Fraction | None = None
        self._shown: shapes.Size = (0, 0)  # upright
        self._sizes: dict[int | None, shapes.Size] = {}
        self._last_time = self._last_gap = 0.0
        self._finished = False

    def __iter__(self) -> Iterator[tuple[float, VideoFrame]]:
        restarts = self._container.format.flags & _CLOCK_RESTARTS.value
        clock = FrameClock(self._interval, MAX_STREAM_GAP if restarts else MAX_GAP)
        base = float(self._stream.time_base or 0)
        size = pixel_aspect = None
        for stated, frame in itertools.chain(self._skipped(), self._decoded()):
            self.num_decoded += 1
            # By way of milliseconds, as OpenCV's reader states them: 29.97 fps has frames exactly
            # at the edge of `TIME_TOLERANCE`, where the last bit decides.
            stated_time = math.nan if stated is None else stated * base * 1000 / 1000
            time = clock.tick(stated_time)
            self._last_gap, self._last_time = time - self._last_time, time
            end = max(self._interval, frame.duration * base)
            self._promise.note_frame(time + end, stated_time + end)
            resized = size != (frame.width, frame.height)
            if resized:  # Streams may change size; a clip has one.
                size = frame.width, frame.height
                shapes.check_size(size, self.path)
            if self._orientation is None:
                self._look_at(frame)
            # The codec's is ahead of the frames that it still holds back; those are no key frames.
            if frame.key_frame or resized or not pixel_aspect:
                pixel_aspect = self._stream.codec_context.sample_aspect_ratio
            if pixel_aspect != self._pixel_aspect:
                frame.opaque = [pixel_aspect]  # which filters keep; one object for each frame
            yield from self._deinterlacer(time, frame)
        yield from self._deinterlacer.flush()
        self._finished = True
        if not self.num_decoded:
            raise VideoError(
                f"A video must hold at least one frame that decodes. Received: {self.path}, in "
                f"which none does (codec {self._stream.codec_context.name}). It may be cut off or "
                "encrypted."
            )

    def _skipped(self) -> Iterator[tuple[int, VideoFrame]]:
        """(timestamp, stand-in) of the frames that are not decoded."""
        if self._skip is not None:
            for stated in self._skip.before:
                yield stated, self._skip.first
            self._container.seek(self._skip.key, stream=self._stream)

    def _decoded(self) -> Iterator[tuple[int | None, VideoFrame]]:
        """(timestamp, frame); raises `SkipError` of others than those after the skip."""
        if self._skip is None:
            timestamps = Timestamps()
            for frame in self._decode():
                yield timestamps.choose(frame.pts, frame.dts), frame
            return
        expected = iter(self._skip.expected)
        for frame in self._decode():
            if frame.pts is not None and frame.pts < self._skip.key:
                continue  # shown before the key frame, and not whole
            if frame.pts is None or frame.pts != next(expected, frame.pts):
                raise SkipError
            if frame.interlaced_frame:
                raise SkipError
            yield frame.pts, frame
        if next(expected, None) is not None:
            raise SkipError

    def _decode(self) -> Iterator[VideoFrame]:
        """Frames in the order of showing; packets that do not decode are left out."""
        for packet in self._packets():
            try:
                yield from packet.decode()
            except (av.FFmpegError, MemoryError):
                continue

    def _packets(self) -> Iterator[Packet[Any]]:
        others = self._promise.needs_other_streams
        packets: Iterator[Packet[Any]] = (
            self._container.demux() if others else self._container.demux(self._stream)
        )
        index = self._stream.index
        waiting = None if self._skip is None else self._skip.key
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:  # What is left of the file cannot be read.
                flush = Packet()
                flush.stream = self._stream
                yield flush
                return
            self._promise.note_packet(packet)
            if waiting is not None and packet.stream.index == index:
                if packet.pts is None or packet.is_keyframe and packet.pts > waiting:
                    raise SkipError
                if packet.pts != waiting:
                    continue
                waiting = None
            if packet.stream.index == index:  # `stream_index` is 0 in the one that flushes
                yield packet

    def _look_at(self, first: VideoFrame) -> None:
        """Notes how the video is shown."""
        self._orientation = orientation_from_matrix(_display_matrix(first))
        self._stored = first.width, first.height
        self._pixel_aspect = self._stream.codec_context.sample_aspect_ratio
        self._shown = self._display_size(first, self._stream.sample_aspect_ratio)

    def _display_size(self, frame: VideoFrame, pixel_aspect: Fraction | None) -> shapes.Size:
        assert self._orientation is not None
        aspect = pixel_aspect if self._square_pixels else None
        width, height = shapes.display_size((frame.width, frame.height), aspect)
        return (height, width) if self._orientation.swaps_sides else (width, height)

    def picture_shape(self, short_side: int | None = None) -> tuple[int, int, int]:
        """Height, width and 3 of `picture`, once the first frame was read; raises as that."""
        width, height = self._size(short_side)
        return height, width, 3

    def _size(self, short_side: int | None) -> shapes.Size:
        if short_side not in self._sizes:
            self._sizes[short_side] = shapes.target_size(self._shown, short_side, self.path)
        return self._sizes[short_side]

    def picture(
        self, frame: VideoFrame, short_side: int | None = None, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        """uint8 RGB `[height, width, 3]` of a frame that iterating gave, upright.

        Args:
            frame: the frame.
            short_side: pixels of the shorter side; None keeps the size.
            out: where to write it, and what is returned; None makes an array.

        Raises:
            VideoError: the result would be larger than frames may be.
        """
        assert self._orientation is not None
        size = self._size(short_side)
        rgb = self._orientation.apply(self._convert(frame))
        hdr = rgb.dtype == np.uint16
        noted: Any = frame.opaque
        aspect = noted[0] if noted else self._pixel_aspect
        reshaped = self._square_pixels and aspect != self._pixel_aspect
        if (frame.width, frame.height) == self._stored and not reshaped:
            rgb = shapes.resize(rgb, size, None if hdr else out)
        else:
            rgb = shapes.fit(rgb, self._display_size(frame, aspect), size)
        if hdr:
            rgb = tone_map(rgb, frame.color_trc)
        if out is None:
            return np.ascontiguousarray(rgb)
        if rgb is not out:
            out[...] = rgb
        return out

    def expect_frames(self, fps: float | None) -> int:
        """About how many frames there are at `fps` (None: the file's own), by its header."""
        seconds = (self._container.duration or 0) / av.time_base
        return max(1, math.ceil(seconds * (fps or self.source_fps)) + 1)

    @property
    def last_interval(self) -> float:
        """Seconds that the last frame is shown: the mean interval, or less if the last was short.

        A long pause makes the mean meaningless.
        """
        return self._last_gap if 0 < self._last_gap < self._interval / 2 else self._interval

    @property
    def source_fps(self) -> float:
        """Frames per second that the file states; measured where it states none."""
        if self._stated_fps is not None:
            return self._stated_fps
        if self._last_time > 0:
            return (self.num_decoded - 1) / self._last_time
        return DEFAULT_FPS

    @property
    def deinterlaced(self) -> bool:
        """Whether interlaced frames were among those read so far."""
        return self._deinterlacer.used

    @property
    def truncated(self) -> bool:
        """Whether the end came clearly before the header says; False before the end."""
        return self._finished and self._promise.broken(self.num_decoded, 1 / self._interval)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()


class _Promise:
    """How long a file says it is, against how much of it is there."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        formats: set[str],
    ) -> None:
        self._seconds: float | None = None
        self._num_frames = stream.frames
        #: Whether the end of sound counts as the end of the file: its header has one duration.
        self.needs_other_streams = False
        if formats & _STATES_COUNT:
            self._seconds = stream.frames / (_usable_fps(stream) or DEFAULT_FPS)
        elif formats & _STATES_STREAM_DURATION:
            if stream.duration is not None and stream.time_base is not None:
                self._seconds = float(stream.duration * stream.time_base)
        elif formats & _STATES_DURATION:
            self._seconds = _seconds_in_tags(stream.metadata)
            if self._seconds is None and container.duration is not None:
                self._seconds = container.duration / av.time_base
                self.needs_other_streams = True
        self._played = 0.0
        self._reached = 0.0

    def note_packet(self, packet: Packet[Any]) -> None:
        """Takes a packet of any stream."""
        if self.needs_other_streams and packet.pts is not None and packet.time_base is not None:
            end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._reached = max(self._reached, end)

    def note_frame(self, *ends: float) -> None:
        """Takes when a frame ends: from the first frame's time, and from zero (Matroska)."""
        self._played = max(self._played, *(end for end in ends if math.isfinite(end)))

    def broken(self, num_decoded: int, fps: float) -> bool:
        """Whether clearly less is there than promised."""
        if self._seconds is None:
            return False
        promised = self._seconds * fps
        tolerance = max(COUNT_TOLERANCE, COUNT_TOLERANCE_SHARE * promised)
        if self._num_frames and self._num_frames - num_decoded <= tolerance:
            return False
        played = max(self._played, self._reached)
        return promised - played * fps > tolerance


def _usable_fps(stream: av.video.stream.VideoStream) -> float | None:
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    return fps if USABLE_FPS[0] <= fps <= USABLE_FPS[1] else None


def _display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    all_data: Any
    try:
        all_data = frame.side_data
    except ValueError:  # PyAV does not know all kinds, such as EXIF; the angle it reads itself.
        return matrix_from_angle(frame.rotation)
    for data in all_data:
        if data.type == Type.DISPLAYMATRIX and data.buffer_size >= _MATRIX.size:
            return _MATRIX.unpack_from(bytes(data))
    return None


def _seconds_in_tags(tags: dict[str, str]) -> float | None:
    """Matroska's `DURATION` of a stream, such as 00:00:02.400000000."""
    for name, text in tags.items():
        match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
        if name.upper().startswith("DURATION") and match is not None:
            return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])
    return None
