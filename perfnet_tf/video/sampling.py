"""Which frame is where in time: index arithmetic in NumPy, without pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError

#: Seconds by which a frame may be late and still count as on time. Matroska rounds timestamps to
#: whole milliseconds: without the tolerance a 30 fps file resampled to 30 fps drops every third
#: frame and shows its neighbour twice.
TIME_TOLERANCE = 1e-3

#: Seconds. A longer pause between two frames is a broken clock, not a slow scene.
MAX_GAP = 10.0

Indices = npt.NDArray[np.int64]


class FrameClock:
    """Turns the timestamps that a container states into ones that always rise, from 0.

    A stated timestamp is taken, relative to the first, if it is after the previous frame and not
    more than `MAX_GAP` (or two intervals, if those are longer) after it. Otherwise the frame comes
    one interval after the previous one. So a file without timestamps (all zero) runs at its frame
    rate, and so does the rest of a file whose clock restarts or leaps.

    The last frame of an XviD AVI with B-frames (all of HMDB-51) states no time: it is the usual
    case of the second rule.
    """

    def __init__(self, interval: float) -> None:
        """Starts a clock.

        Args:
            interval: seconds between frames where nothing better is known.
        """
        self._interval = interval
        self._max_gap = max(MAX_GAP, 2 * interval)
        self._origin: float | None = None
        self._time = 0.0

    def tick(self, stated: float) -> float:
        """Seconds from the first frame to this one, given the time its container states."""
        if self._origin is None:
            self._origin = stated if np.isfinite(stated) else 0.0
            return self._time
        time = stated - self._origin
        if not self._time < time <= self._time + self._max_gap:  # also refuses NaN
            time = self._time + self._interval
        self._time = time
        return time


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
        # A loop of comparisons: rounding a quotient would be off by one at some times.
        while self.num_counted / self._fps < time - TIME_TOLERANCE:
            self.num_counted += 1
        return self.num_counted - first


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
