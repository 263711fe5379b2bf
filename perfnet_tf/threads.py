"""How many threads this process may work with, in decoding videos and in optical flow."""

from __future__ import annotations

import os

_chosen: int | None = None


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """What `set_num_threads` chose, or a thread on each of `available_cores`."""
    return _chosen or available_cores()


def set_num_threads(number: int | None) -> None:
    """Chooses the threads of decoding and of optical flow; None takes all cores again.

    OpenCV and TensorFlow have their own settings (`cv2.setNumThreads`, `tf.config.threading`).
    """
    global _chosen
    _chosen = None if number is None else max(1, number)
