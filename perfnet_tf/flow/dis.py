"""Optical flow by Dense Inverse Search: coarser than TV-L1 and many times faster.

Source: Kroeger et al. 2016 (arXiv:1603.03590), through OpenCV, on the CPU.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfnet_tf.flow.frames import gray_frames
from perfnet_tf.opencv import cv2

# Its coarsest level must hold a patch (8 px) on each side; smaller frames are padded.
_MIN_SIDE = 32


def compute_dis(frames: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Flow from each frame to the next, by OpenCV's DIS with its medium preset.

    Args:
        frames: `[frames, height, width, 3]` RGB or `[frames, height, width]` grey; uint8 0..255 or
            float 0..1.

    Returns:
        float32 `[frames, height, width, 2]`, (dx, dy) in pixels per frame; the last frame repeats
        the flow before it, and a single frame has none (zeros).

    Raises:
        InputError: see `perfnet_tf.flow.frames.gray_frames`.
    """
    gray = np.clip(np.rint(gray_frames(frames)), 0, 255).astype(np.uint8)
    num_frames, height, width = gray.shape
    flow = np.zeros((num_frames, height, width, 2), np.float32)
    margins = (0, 0), (0, max(0, _MIN_SIDE - height)), (0, max(0, _MIN_SIDE - width))
    gray = np.pad(gray, margins, mode="edge")
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    for index in range(num_frames - 1):
        if np.array_equal(gray[index], gray[index + 1]):
            continue  # rest is exactly zero, whatever the estimator's interpolation leaves
        initial = np.zeros((*gray.shape[1:], 2), np.float32)
        pair = estimator.calc(gray[index], gray[index + 1], initial)
        flow[index] = pair[:height, :width]
    flow[-1] = flow[-2] if num_frames > 1 else 0
    return flow
