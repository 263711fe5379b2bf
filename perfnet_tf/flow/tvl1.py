"""TV-L1 optical flow of a clip, by one of two engines for one algorithm."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from perfnet_tf.devices import check_device, frames_at_once, is_accelerator
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.flow.frames import gray_frames
from perfnet_tf.flow.tvl1_params import TVL1Params
from perfnet_tf.flow.tvl1_solver import solve_tvl1
from perfnet_tf.threads import num_threads

__all__ = ["TVL1Params", "compute_tvl1"]

# Pairs solved together by XLA: one fills a CPU's caches.
_PAIRS_ON_CPU = 1
# What a pair takes of an accelerator. On a CPU XLA takes 43 float32 per pixel (the growth of the
# process's peak from 2 to 16 pairs of 680x512); an accelerator's program may keep more at once.
_BYTES_PER_PIXEL = 4 * 80


@dataclass(frozen=True)
class _Settings:
    """How pairs are solved; attributes as of `compute_tvl1`."""

    params: TVL1Params
    pairs_at_once: int | None
    device: str


#: float32 grey `[frames, height, width]`, places of pairs `[pairs, 2]`, settings -> float32
#: `[pairs, height, width, 2]`.
_Engine = Callable[[np.ndarray, np.ndarray, _Settings], np.ndarray]


def compute_tvl1(
    frames: npt.ArrayLike,
    params: TVL1Params = TVL1Params(),  # noqa: B008 (frozen)
    *,
    engine: str = "auto",
    pairs_at_once: int | None = None,
    device: str | None = None,
) -> npt.NDArray[np.float32]:
    """TV-L1 flow from each frame to the next.

    Two engines run the same algorithm. Numba's is for CPUs: two to three times as fast there, a
    pair on each thread that `perfnet_tf.threads` allows. XLA's is for GPUs and TPUs. Their
    flow differs by rounding, which the method amplifies where motion is ambiguous: by 0.001 px on
    average over 16 pairs of UCF-101. Numba compiles its loops once per machine, XLA a program
    for each frame size.

    Identical neighbouring frames have exactly zero flow. Device memory does not grow with the
    number of frames, and on an accelerator a batch is as large as `devices.BATCH_MEMORY` allows.

    Source: Zach, Pock and Bischof 2007; Sanchez, Meinhardt-Llopis and Facciolo, IPOL 2013.

    Args:
        frames: `[frames, height, width, 3]` RGB or `[frames, height, width]` grey; uint8 0..255 or
            float 0..1.
        params: see `TVL1Params`.
        engine: `numba`, `xla`, or `auto`: Numba unless the device is a GPU or TPU, or there is no
            Numba.
        pairs_at_once: pairs solved together by XLA; None chooses 1 on a CPU, and on an accelerator
            by the frames' size (`devices.frames_at_once`). It does not change the result beyond
            rounding.
        device: TensorFlow's name of the device for XLA, such as `GPU:1`; None takes the first
            accelerator, or the CPU.

    Returns:
        float32 `[frames, height, width, 2]`, (dx, dy) in pixels per frame; the last frame repeats
        the flow before it, and a single frame has none (zeros).

    Raises:
        InputError: wrong frames (see `perfnet_tf.flow.frames.gray_frames`), an unknown `engine` or
            `device`, `numba` where it cannot be imported, or `pairs_at_once` below 1.
    """
    gray = gray_frames(frames)
    if pairs_at_once is not None and pairs_at_once < 1:
        raise InputError(f"pairs_at_once must be at least 1. Received: {pairs_at_once!r}.")
    settings = _Settings(params, pairs_at_once, check_device(device))
    solve = _engine(engine, settings.device)
    if len(gray) == 1:
        return np.zeros((*gray.shape, 2), np.float32)
    firsts = np.arange(len(gray) - 1)
    flow = _solve(gray, np.stack([firsts, firsts + 1], axis=1), settings, solve)
    return np.concatenate([flow, flow[-1:]])


def compute_tvl1_at(
    frames: npt.NDArray[Any],
    firsts: npt.ArrayLike,
    params: TVL1Params = TVL1Params(),  # noqa: B008 (frozen)
    *,
    engine: str = "auto",
    device: str | None = None,
) -> npt.NDArray[np.float32]:
    """TV-L1 flow from some frames to the next ones, with other frames left alone.

    Args:
        frames, params, engine, device: as of `compute_tvl1`.
        firsts: int `[pairs]`, places of frames that have a next one.

    Returns:
        float32 `[pairs, height, width, 2]`.

    Raises:
        InputError: as of `compute_tvl1`.
    """
    firsts = np.asarray(firsts, int)
    pairs = np.stack([firsts, firsts + 1], axis=1)
    needed, places = np.unique(pairs, return_inverse=True)
    gray = gray_frames(frames[needed])
    settings = _Settings(params, None, check_device(device))
    solve = _engine(engine, settings.device)
    return _solve(gray, places.reshape(pairs.shape), settings, solve)


def _solve(
    gray: np.ndarray, pairs: np.ndarray, settings: _Settings, engine: _Engine
) -> npt.NDArray[np.float32]:
    flow = np.zeros((len(pairs), *gray.shape[1:], 2), np.float32)
    moving = np.array([(gray[one] != gray[other]).any() for one, other in pairs], bool)
    if moving.any():
        flow[moving] = engine(gray, pairs[moving], settings)
    return flow


def _engine(name: str, device: str) -> _Engine:
    check_choice("The engine of TV-L1", name, ("auto", *_ENGINES))
    if name == "auto":
        name = "xla" if is_accelerator(device) or _numba_problem() else "numba"
    elif name == "numba" and (problem := _numba_problem()):
        raise InputError(
            f"The TV-L1 engine numba needs the package numba, which cannot be imported: {problem}. "
            "Install it, or choose the engine xla."
        )
    return _ENGINES[name]


@functools.cache
def _numba_problem() -> str:
    """Why Numba cannot be used here; empty if it can."""
    try:
        import perfnet_tf.flow.tvl1_cpu  # noqa: F401
    except ImportError as error:  # not installed, or too old for this NumPy
        warnings.warn(
            f"TV-L1 runs on XLA, which is slower on a CPU: numba cannot be imported ({error}).",
            RuntimeWarning,
            stacklevel=2,
        )
        return str(error)
    return ""


def _solve_by_numba(gray: np.ndarray, pairs: np.ndarray, settings: _Settings) -> np.ndarray:
    from perfnet_tf.flow.tvl1_cpu import solve_pair

    def solve(pair: np.ndarray) -> np.ndarray:
        return solve_pair(gray[pair[0]], gray[pair[1]], settings.params)

    with ThreadPoolExecutor(max_workers=min(num_threads(), len(pairs))) as pool:
        return np.stack(list(pool.map(solve, pairs)))


def _solve_by_xla(gray: np.ndarray, pairs: np.ndarray, settings: _Settings) -> np.ndarray:
    height, width = gray.shape[1:]
    at_once = settings.pairs_at_once or _pairs_at_once(height, width, settings.device)
    program = _compiled(at_once, height, width, settings.params)
    flow = []
    for start in range(0, len(pairs), at_once):
        some = pairs[start : start + at_once]
        # A short last batch repeats its last pair: one program per frame size.
        padded = np.concatenate([some, np.repeat(some[-1:], at_once - len(some), axis=0)])
        with tf.device(settings.device):
            solved = program(*(tf.constant(gray[places]) for places in padded.T))
        flow.append(solved.numpy()[: len(some)])
    return np.concatenate(flow)


_ENGINES: dict[str, _Engine] = {"numba": _solve_by_numba, "xla": _solve_by_xla}


def _pairs_at_once(height: int, width: int, device: str) -> int:
    if not is_accelerator(device):
        return _PAIRS_ON_CPU
    return frames_at_once(_BYTES_PER_PIXEL * height * width)


@functools.lru_cache(maxsize=32)
def _compiled(num_pairs: int, height: int, width: int, params: TVL1Params) -> Any:
    """The XLA program for one shape; old ones are dropped, so that odd sizes do not pile up."""
    image = tf.TensorSpec([num_pairs, height, width], tf.float32)

    @tf.function(jit_compile=True, autograph=False, input_signature=[image, image])
    def solve(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        return solve_tvl1(first, second, params)

    # Called as a function of one shape: TensorFlow would warn of every fifth size that it retraces.
    return solve.get_concrete_function()
