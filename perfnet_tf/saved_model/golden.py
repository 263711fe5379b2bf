"""A small made-up clip that every export is compared on, and how far its logits are off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from perfnet_tf.streams import STREAMS


def golden_clip(stream: str, shape: Sequence[int] | None = None) -> np.ndarray:
    """A moving pattern: uint8, or float32 in +-limit (20 for flow) of streams that are no pictures.

    Without a shape it is `[2, 9, 64, 80, channels]`.
    """
    shape = shape or (2, 9, 64, 80, STREAMS[stream].channels)
    # Broadcast from one row of numbers per axis: five whole arrays of a large clip take gigabytes.
    clip, frame, y, x, channel = np.meshgrid(
        *map(np.arange, shape), indexing="ij", sparse=True, copy=False
    )
    phase = (x * (2 + clip) + y * (3 - channel)) / 16 - frame * (1 + clip) / 3 + channel
    pattern = np.sin(phase)  # in [-1, 1]
    if not STREAMS[stream].is_picture:
        return ((STREAMS[stream].limit or 1.0) * pattern).astype(np.float32)
    return np.round(127.5 + 127.5 * pattern).astype(np.uint8)


def relative_difference(values: np.ndarray, reference: np.ndarray) -> float:
    """The largest difference, as a share of the reference's largest absolute value (or of 1e-6)."""
    return float(np.abs(values - reference).max() / max(np.abs(reference).max(), 1e-6))
