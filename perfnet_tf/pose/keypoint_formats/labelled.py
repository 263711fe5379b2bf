"""Keypoints of a clip that are to be written in another format."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class LabelledKeypoints:
    """Keypoints of a clip that are to be written.

    Attributes:
        name: of the clip.
        label: of its class; a list of a clip of several, as MMAction2 has them.
        keypoints: float32 `[frames, people, 17, 3]`: x and y in [0, 1] of the frame, and score.
        size: (width, height) of a frame, pixels.
        fps: frames per second.
    """

    name: str
    label: int | list[int]
    keypoints: np.ndarray
    size: tuple[int, int]
    fps: float
