"""Which frame is where in time: index arithmetic in NumPy, without pixels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError

#: Seconds by which a frame may be late and still count as on time. Matroska rounds timestamps to
#: whole milliseconds: without the tolerance a 30 fps file resampled to 30 fps drops every third
#: frame and shows its neighbour twice.
TIME_TOLERANCE = 1e-3

#: Seconds. A longer pause between two frames is a broken clock.
MAX_GAP = 3600.0

#: Seconds. The same for streams whose clock may restart at any time (transport and program
#: streams), and how far back a clock must leap to have restarted; FFmpeg has 10 s for the first.
MAX_STREAM_GAP = 10.0
_RESTART = 1.0

#: Seconds by which the intervals of a constant rate differ where timestamps are rounded to whole
#: milliseconds, and how many must differ by more until a video counts as jittery.
_ROUNDING = 1.5e-3
_JITTERY_INTERVALS = 3

Indices = npt.NDArray[np.int64]


class FrameClock:
    """Turns the timestamps that a container states into ones that always rise, from 0.

    A stated timestamp is taken, relative to the first, if it is after the previous frame and not
    more than the longest gap (or two intervals, if those are longer) after it. Otherwise the frame
    comes one interval after the previous one; if the clock has leapt, what follows is relative to
    that frame. So a file without timestamps (all zero) runs at its frame rate, and a stream whose
    clock restarts continues.

    The last frame of an XviD AVI with B-frames (all of HMDB-51) states no time: it is the usual
    case of the second rule.
    """

    def __init__(self, interval: float, max_gap: float = MAX_GAP) -> None:
        """Starts a clock.

        Args:
            interval: seconds between frames where nothing better is known.
            max_gap: seconds of the longest pause.
        """
        self._interval = interval
        self._max_gap = max(max_gap, 2 * interval)
        self._origin: float | None = None
        self._time = 0.0
        self._started = False

    def tick(self, stated: float) -> float:
        """Seconds from the first frame to this one, given the time its container states."""
        if not self._started:
            self._started = True
            self._origin = stated if math.isfinite(stated) else None
            return self._time
        if not math.isfinite(stated):
            self._time += self._interval
            return self._time
        time = self._time + self._interval
        if self._origin is None:
            self._origin = stated - time
        elif self._time < stated - self._origin <= self._time + self._max_gap:
            time = stated - self._origin
        elif abs(stated - self._origin - self._time) > max(_RESTART, 2 * self._interval):
            self._origin = stated - time
        self._time = time
        return time


class Timestamps:
    """Which of a frame's two timestamps to believe: FFmpeg's rule, on a frame at a time.

    Source: `guess_correct_pts` of libavcodec. Files such as AVI state the order of decoding only.
    """

    def __init__(self) -> None:
        self._faulty = {"pts": 0, "dts": 0}
        self._last = {"pts": -math.inf, "dts": -math.inf}

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        """The presentation timestamp, in the stream's unit; None if neither is known."""
        if dts is not None:
            self._count("dts", dts)
        elif pts is not None:
            self._last["dts"] = pts
        if pts is not None:
            self._count("pts", pts)
        elif dts is not None:
            self._last["pts"] = dts
        believed = self._faulty["pts"] <= self._faulty["dts"] or dts is None
        return pts if believed and pts is not None else dts

    def _count(self, name: str, value: int) -> None:
        self._faulty[name] += value <= self._last[name]
        self._last[name] = value


class GridResampler:
    """Resamples to a regular grid one frame at a time, without holding the whole video.

    The grid times are 0, 1/fps, 2/fps, ...; each shows the last frame that is due by then (within
    `TIME_TOLERANCE`). No frame is blended.
    """

    def __init__(self, fps: float) -> None:
        """Starts a grid.

        Args:
            fps: grid times a second.
        """
        self._fps = fps
        #: Grid times counted so far.
        self.num_counted = 0

    def advance(self, time: float) -> int:
        """How many grid times lie before `time` that were not counted yet.

        Called with the time at which each next frame begins (and at last with the time at which
        the last one ends), it says how often the frame before it is on the grid.
        """
        first = self.num_counted
        near = (time - TIME_TOLERANCE) * self._fps - 2
        if near > first:
            self.num_counted = int(near)
        # A loop of comparisons: rounding a quotient would be off by one at some times.
        while self.num_counted / self._fps < time - TIME_TOLERANCE:
            self.num_counted += 1
        return self.num_counted - first


class JitterGuard:
    """Keeps clocks that are off by milliseconds from dropping and repeating frames.

    The frames of browsers and webcams come at 31, 37, 32, ... ms. Where "the last frame due" shows
    one twice and skips its late neighbour, the nearest frame is right. A constant rate, rounded to
    milliseconds or with frames left out, is never changed.
    """

    def __init__(self, fps: float) -> None:
        """Starts a guard.

        Args:
            fps: grid times a second.
        """
        self._early = max(0.0, 0.5 / fps - TIME_TOLERANCE)
        self._last: float | None = None
        self._step: float | None = None
        self._num_jittery = 0

    def due(self, time: float) -> float:
        """When a frame that begins at `time` is first due on the grid: half a grid step early once
        the video is known to jitter, as FFmpeg's fps filter rounds."""
        if self._last is not None:
            step = time - self._last
            if self._step is not None:
                small, large = sorted((step, self._step))
                multiple = round(large / small)
                if multiple <= 2 and abs(large - multiple * small) > multiple * _ROUNDING:
                    self._num_jittery += 1
            self._step = step
        self._last = time
        return time - self._early if self._num_jittery >= _JITTERY_INTERVALS else time


def spread_indices(num_available: int, num_frames: int) -> Indices:
    """`num_frames` frames spread over the video: the middle of each of as many equal segments.

    A video with fewer frames gives some of them several times.

    Returns:
        int64 `[num_frames]`, not falling.

    Raises:
        InputError: a count is not positive.
    """
    _check_counts(num_available=num_available, num_frames=num_frames)
    return (2 * np.arange(num_frames) + 1) * num_available // (2 * num_frames)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} must be at least 1. Received: {count!r}.")
