"""Videos written by PyAV, with what their files say of themselves set by hand."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np


def numbered(number: int, height: int = 48, width: int = 80) -> np.ndarray:
    """The number in six bits on the left, white or black; grey on the right."""
    frame = np.full((height, width, 3), 128, np.uint8)
    for bit in range(6):
        rows = slice(bit * height // 6, (bit + 1) * height // 6)
        frame[rows, : width // 2] = 255 * (number >> bit & 1)
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number that `numbered` painted."""
    height, width = frame.shape[:2]
    rows = [(2 * bit + 1) * height // 12 for bit in range(6)]
    return int(sum((frame[row, width // 4].mean() > 128) << bit for bit, row in enumerate(rows)))


def write(
    path: pathlib.Path,
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = 25,
    times: Sequence[float] | None = None,
    time_base: Fraction | None = None,
    options: Mapping[str, str] | None = None,
    on_stream: Callable[[Any], None] | None = None,
    on_frame: Callable[[av.VideoFrame], None] | None = None,
    planes: Sequence[Sequence[np.ndarray]] | None = None,
    fields: str | None = None,
) -> pathlib.Path:
    """Encodes RGB pictures, or `planes` (luma and chroma of each frame) as they are.

    Args:
        times: seconds of each frame, on `time_base`; None for the constant `rate`.
        on_stream, on_frame: set what they like before encoding.
        fields: `tff` or `bff` flags the frames as interlaced, the top or bottom field first.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.pix_fmt = pix_fmt
        first = pictures[0] if planes is None else planes[0][0]
        stream.height, stream.width = first.shape[:2]
        base = time_base or 1 / Fraction(rate)
        stream.codec_context.time_base = base
        if on_stream is not None:
            on_stream(stream)
        for index in range(len(pictures if planes is None else planes)):
            if planes is None:
                frame = av.VideoFrame.from_ndarray(pictures[index]).reformat(format=pix_fmt)
            else:
                frame = av.VideoFrame(stream.width, stream.height, pix_fmt)
                for plane, values in zip(frame.planes, planes[index], strict=True):
                    fill(plane, values)
            if fields is not None:
                frame = _flag_fields(frame, fields)
            frame.time_base = base
            frame.pts = index if times is None else round(times[index] / base)
            if on_frame is not None:
                on_frame(frame)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _flag_fields(frame: av.VideoFrame, fields: str) -> av.VideoFrame:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25)
    )
    graph.link_nodes(source, graph.add("setfield", fields), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()


def fill(plane: Any, values: np.ndarray) -> None:
    """Writes `[height, width]` into a plane, whose rows may be padded."""
    rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
    rows[:, : values.shape[1]] = values
    plane.update(rows.tobytes())


def flat(luma: int, blue: int, red: int, dtype: Any = np.uint8) -> list[np.ndarray]:
    """The planes of a 64x48 frame of one colour in 4:2:0."""
    return [
        np.full((48, 64), luma, dtype),
        np.full((24, 32), blue, dtype),
        np.full((24, 32), red, dtype),
    ]


def copy_from(source: pathlib.Path, target: pathlib.Path, start: float) -> None:
    """Cuts the beginning off without encoding again, as `ffmpeg -ss START -c copy` does.

    Packets from the keyframe before `start` on are kept, with times relative to `start`: those of
    the frames before it are negative, and MP4 hides them by an edit list.
    """
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        offset = round(start / stream.time_base)
        for packet in read.demux(stream):
            if packet.dts is None:
                continue
            packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
            packet.stream = copy
            written.mux(packet)
