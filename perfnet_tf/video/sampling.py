"""Which frames stand where in time: index arithmetic in NumPy, without pixels."""

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

    A stated timestamp is taken, relative to the first, if it lies after the previous frame and not
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
    """`resample_indices` one frame at a time, for decoding without holding the whole video.

    The grid times are 0, 1/fps, 2/fps, ...; at each stands the last frame that was due by then.
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
        the last one ends), it says how often the frame before it stands on the grid.
        """
        first = self.num_counted
        # A loop of comparisons, so that this and `resample_indices` agree to the last bit.
        while self.num_counted / self._fps < time - TIME_TOLERANCE:
            self.num_counted += 1
        return self.num_counted - first


def resample_indices(
    timestamps: npt.ArrayLike, fps: float, *, last_interval: float | None = None
) -> Indices:
    """The source frame for each time of a regular grid.

    The grid is 0, 1/fps, 2/fps, ... up to the end of the last frame; at each grid time stands the
    last source frame that is due by then (within `TIME_TOLERANCE`). No frame is blended.

    Args:
        timestamps: seconds `[frames]`, rising from 0, at least one.
        fps: grid times a second.
        last_interval: seconds that the last frame is shown; None takes the mean interval (one grid
            interval for a single frame).

    Returns:
        int64 `[grid times]`, not falling, at least one entry.

    Raises:
        InputError: the timestamps do not rise from 0, or `fps` is not positive.
    """
    times = np.asarray(timestamps, np.float64)
    _check_rising(times)
    if not fps > 0:
        raise InputError(f"fps must be greater than 0. Received: {fps!r}.")
    if last_interval is None:
        last_interval = times[-1] / (len(times) - 1) if len(times) > 1 else 1 / fps
    end = times[-1] + last_interval - TIME_TOLERANCE
    grid = np.arange(int(np.ceil(end * fps)) + 2) / fps
    grid = grid[grid < end] if grid[0] < end else grid[:1]
    # A frame stands from its own time on: frame i for times[i] - tolerance <= grid.
    return np.searchsorted(times - TIME_TOLERANCE, grid, side="right") - 1


def window_indices(num_available: int, num_frames: int, *, start: int, stride: int = 1) -> Indices:
    """`num_frames` indices from `start` on, every `stride`-th; past the end, the last frame.

    PERF-Net Sec. 4 pads short videos by repeating "the first or last frame". Our choice is the
    last: the clip then begins where the video does, and the index of a frame in the clip does not
    depend on how much is missing.

    Args:
        num_available: frames that there are.
        num_frames: frames wanted.
        start: index of the first.
        stride: distance between neighbours.

    Returns:
        int64 `[num_frames]`, each in `[0, num_available)`.

    Raises:
        InputError: a count or the stride is not positive, or `start` is no frame.
    """
    _check_counts(num_available=num_available, num_frames=num_frames, stride=stride)
    if not 0 <= start < num_available:
        raise InputError(f"start must be in [0, {num_available}). Received: {start!r}.")
    return np.minimum(start + stride * np.arange(num_frames), num_available - 1)


def pad_indices(num_available: int, num_frames: int) -> Indices:
    """The first `num_frames` frames; a shorter video is padded by repeating its last frame.

    See `window_indices` for arguments, result, errors and the reason.
    """
    return window_indices(num_available, num_frames, start=0)


def central_start(num_available: int, num_frames: int, *, stride: int = 1) -> int:
    """Where the central window begins: as many frames before it as after it, or one less."""
    _check_counts(num_available=num_available, num_frames=num_frames, stride=stride)
    span = (num_frames - 1) * stride + 1
    return max(0, (num_available - span) // 2)


def central_indices(num_available: int, num_frames: int, *, stride: int = 1) -> Indices:
    """The evaluation clip: the central window, or the whole of a short video and its last frame.

    PERF-Net Sec. 4 evaluates one central crop. See `window_indices` for arguments, result, errors.
    """
    start = central_start(num_available, num_frames, stride=stride)
    return window_indices(num_available, num_frames, start=start, stride=stride)


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


def _check_rising(times: npt.NDArray[np.float64]) -> None:
    if times.ndim != 1 or len(times) == 0 or times[0] != 0 or not (np.diff(times) > 0).all():
        raise InputError(
            "timestamps must be seconds [frames] that rise from 0. Received: "
            f"shape {list(times.shape)}, beginning {times.ravel()[:4].tolist()}."
        )
