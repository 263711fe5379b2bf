"""TV-L1 flow of one pair of frames on one core: the pyramid around the loops of `tvl1_loops`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from perfnet_tf.flow.tvl1_loops import MARGIN, NUM_PLANES, U1, U2, num_columns, resize, solve_level
from perfnet_tf.flow.tvl1_params import TVL1Params, pyramid_sizes

_CACHE_LINE = 64  # bytes


def solve_pair(
    first: npt.NDArray[np.float32], second: npt.NDArray[np.float32], params: TVL1Params
) -> npt.NDArray[np.float32]:
    """Flow from `first` to `second`.

    Releases Python's lock: several threads solve several pairs at once.

    Args:
        first, second: float32 `[height, width]`, grey 0..255.
        params: see `TVL1Params`.

    Returns:
        float32 `[height, width, 2]`, (dx, dy) in pixels.
    """
    step = 1 / params.scale_step
    pyramid = [(np.ascontiguousarray(first), np.ascontiguousarray(second))]
    for size in pyramid_sizes(first.shape[0], first.shape[1], params):
        smaller = np.empty(size, np.float32), np.empty(size, np.float32)
        for image, resized in zip(pyramid[-1], smaller, strict=True):
            resize(image, resized, step, step, np.float32(1))
        pyramid.append(smaller)
    flow = np.zeros((2, *pyramid[-1][0].shape), np.float32)
    for source, target in reversed(pyramid):
        height, width = source.shape
        state = _aligned_zeros(height, NUM_PLANES, num_columns(width))
        inside = slice(MARGIN, MARGIN + width)
        steps = flow.shape[1] / height, flow.shape[2] / width
        scale = np.float32(1 if flow.shape[1:] == source.shape else step)
        for plane, component in zip((U1, U2), flow, strict=True):
            resize(component, state[:, plane, inside], *steps, scale)
        solve_level(
            state,
            source,
            target,
            np.float32(params.tau),
            np.float32(params.lambda_),
            np.float32(params.theta),
            np.float32(params.epsilon),
            params.warps,
            params.outer_iterations,
            params.inner_iterations,
            params.median_filtering,
        )
        flow = np.ascontiguousarray(state[:, [U1, U2], inside].transpose(1, 0, 2))
    return np.ascontiguousarray(flow.transpose(1, 2, 0))


def _aligned_zeros(*shape: int) -> npt.NDArray[np.float32]:
    """float32 zeros that begin with a cache line, so that no vector is in two: 6 % of the time."""
    size = 4 * int(np.prod(shape))
    memory = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size].view(np.float32).reshape(shape)
