"""Interlaced frames as a player shows them."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from fractions import Fraction
from typing import TypeVar

import av
from av.video.frame import VideoFrame

T = TypeVar("T")

# FFmpeg's bwdif needs these; the chroma of a smaller frame has no fields anyway.
_LEAST_WIDTH, _LEAST_HEIGHT = 3, 4


class Deinterlacer:
    """Deinterlaces the frames that are flagged as interlaced, one frame for each.

    FFmpeg's bwdif, one picture per frame: the number of frames and their times stay. Progressive
    frames pass unchanged. The filter needs the following frame, so frames come out one late;
    `flush` gives the last.

    Attributes:
        used: whether any frame was interlaced.
    """

    def __init__(self) -> None:
        self.used = False
        self._graph: av.filter.Graph | None = None
        self._shape: tuple[int, int, str] | None = None
        self._waiting: collections.deque[tuple[object, tuple[int, int, int, int]]] = (
            collections.deque()
        )

    def __call__(self, label: T, frame: VideoFrame) -> Iterator[tuple[T, VideoFrame]]:
        """Takes a frame and its label; yields what is ready, with the label of each."""
        shape = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and shape != self._shape:
            yield from self.flush()
        if self._graph is None:
            small = frame.width < _LEAST_WIDTH or frame.height < _LEAST_HEIGHT
            if not frame.interlaced_frame or small:
                yield label, frame
                return
            self._graph, self._shape = _make_graph(frame), shape
            self.used = True
        colour = (frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries)
        self._waiting.append((label, colour))
        frame.pts = None
        self._graph.push(frame)
        yield from self._ready()

    def flush(self) -> Iterator[tuple[T, VideoFrame]]:
        """Yields the frames that are still inside."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None
            self._waiting.clear()

    def _ready(self) -> Iterator[tuple[T, VideoFrame]]:
        assert self._graph is not None
        while self._waiting:
            try:
                frame = self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            label, colour = self._waiting.popleft()
            frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = colour
            yield label, frame  # type: ignore[misc]


def _make_graph(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    # One thread: a frame takes a millisecond, and workers share the cores.
    deinterlace = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced:threads=1")
    graph.link_nodes(source, deinterlace, graph.add("buffersink")).configure()
    return graph
