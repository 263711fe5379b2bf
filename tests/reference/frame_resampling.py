"""A slow reference of `perfnet_tf.video.sampling.GridResampler`: all frames at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError
from perfnet_tf.video.sampling import TIME_TOLERANCE, Indices


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


def _check_rising(times: npt.NDArray[np.float64]) -> None:
    if times.ndim != 1 or len(times) == 0 or times[0] != 0 or not (np.diff(times) > 0).all():
        raise InputError(
            "timestamps must be seconds [frames] that rise from 0. Received: "
            f"shape {list(times.shape)}, beginning {times.ravel()[:4].tolist()}."
        )
