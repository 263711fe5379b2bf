"""TV-L1 optical flow of a clip."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.flow.frames import gray_frames
from perfnet_tf.flow.tvl1_params import TVL1Params
from perfnet_tf.flow.tvl1_solver import solve_tvl1

__all__ = ["TVL1Params", "compute_tvl1"]

# Pairs solved together. One pair fills a CPU's caches; an accelerator wants more work at once.
_PAIRS_ON_CPU = 1
_PAIRS_ON_ACCELERATOR = 16


def compute_tvl1(
    frames: npt.ArrayLike,
    params: TVL1Params = TVL1Params(),  # noqa: B008 (frozen)
    *,
    pairs_at_once: int | None = None,
) -> npt.NDArray[np.float32]:
    """TV-L1 flow from each frame to the next.

    The first call for a frame size compiles an XLA program, which takes seconds; later calls for
    that size, with any number of frames, do not. Identical neighbouring frames have exactly zero
    flow. Device memory does not grow with the number of frames.

    Source: Zach, Pock and Bischof 2007; Sanchez, Meinhardt-Llopis and Facciolo, IPOL 2013.

    Args:
        frames: `[frames, height, width, 3]` RGB or `[frames, height, width]` grey; uint8 0..255 or
            float 0..1.
        params: see `TVL1Params`.
        pairs_at_once: pairs solved together; None chooses 1 on a CPU and 16 on an accelerator. It
            does not change the result beyond rounding.

    Returns:
        float32 `[frames, height, width, 2]`, (dx, dy) in pixels per frame; the last frame repeats
        the flow before it, and a single frame has none (zeros).

    Raises:
        InputError: wrong frames (see `perfnet_tf.flow.frames.gray_frames`), or `pairs_at_once`
            below 1.
    """
    gray = gray_frames(frames)
    num_frames, height, width = gray.shape
    flow = np.zeros((num_frames, height, width, 2), np.float32)
    if pairs_at_once is None:
        on_accelerator = tf.config.list_logical_devices("GPU") + tf.config.list_logical_devices(
            "TPU"
        )
        pairs_at_once = _PAIRS_ON_ACCELERATOR if on_accelerator else _PAIRS_ON_CPU
    if pairs_at_once < 1:
        raise InputError(f"pairs_at_once must be at least 1. Received: {pairs_at_once!r}.")

    moving = [i for i in range(num_frames - 1) if not np.array_equal(gray[i], gray[i + 1])]
    solve = _compiled(pairs_at_once, height, width, params)
    for start in range(0, len(moving), pairs_at_once):
        pairs = np.array(moving[start : start + pairs_at_once])
        # A short last batch repeats its last pair: one program per frame size.
        padded = np.concatenate([pairs, np.repeat(pairs[-1:], pairs_at_once - len(pairs))])
        solved = solve(tf.constant(gray[padded]), tf.constant(gray[padded + 1]))
        flow[pairs] = solved.numpy()[: len(pairs)]
    flow[-1] = flow[-2] if num_frames > 1 else 0
    return flow


@functools.lru_cache(maxsize=32)
def _compiled(num_pairs: int, height: int, width: int, params: TVL1Params) -> Any:
    """The XLA program for one shape; old ones are dropped, so that odd sizes do not pile up."""
    image = tf.TensorSpec([num_pairs, height, width], tf.float32)

    @tf.function(jit_compile=True, autograph=False, input_signature=[image, image])
    def solve(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        return solve_tvl1(first, second, params)

    # Called as a function of one shape: TensorFlow would warn of every fifth size that it retraces.
    return solve.get_concrete_function()
