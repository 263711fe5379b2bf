"""TV-L1 optical flow of image pairs as one XLA program with static shapes.

Source: Zach, Pock and Bischof 2007; Sanchez, Meinhardt-Llopis and Facciolo, IPOL 2013. Pyramid,
warps, median filter and stopping rule follow OpenCV's `DualTVL1OpticalFlow`.

Images are float32 `[pairs, height, width]`, flow `[2 (dx, dy), pairs, height, width]`. Both
components travel in one tensor: XLA on a CPU writes one tensor per loop, and compiles fewer loops
sooner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from perfnet_tf.flow.grid import barrier, centered_gradient, resize_bilinear, warp_bicubic
from perfnet_tf.flow.median import median_5x5
from perfnet_tf.flow.tvl1_params import TVL1Params, pyramid_sizes

# OpenCV's least squared gradient, float32's epsilon.
_MIN_SQUARE = 1.1920929e-07


class _State(NamedTuple):
    """Flow and its dual variables.

    Both carry a margin of zeros, the flow at the right and bottom, the dual at the left and top, so
    that the neighbour that a difference needs is a slice. It also keeps XLA from updating in
    place, where LLVM must assume that input and output overlap and gives up vectorising: half of
    an iteration's time on a CPU.
    """

    flow: tf.Tensor  # [2 (dx, dy), pairs, height + 1, width + 1]
    dual: tf.Tensor  # [2 (dx, dy), 2 (along x, along y), pairs, height + 1, width + 1]


class _Linearised(NamedTuple):
    """The brightness residual around the warp: `offset + gradient . flow`."""

    gradient: tf.Tensor  # [2, pairs, height, width]
    inverse_square: tf.Tensor  # [pairs, height, width], 1 / |gradient|^2, 0 without a gradient
    offset: tf.Tensor  # [pairs, height, width]


def solve_tvl1(first: tf.Tensor, second: tf.Tensor, params: TVL1Params) -> tf.Tensor:
    """Flow from `first` to `second`.

    Args:
        first, second: float32 `[pairs, height, width]`, grey 0..255, static shape.
        params: see `TVL1Params`.

    Returns:
        float32 `[pairs, height, width, 2]`, (dx, dy) in pixels. Pairs do not influence each other.
    """
    num_pairs = first.shape[0]
    pyramid = [tf.concat([first, second], axis=0)]  # [2 * pairs, height, width]
    step = 1 / params.scale_step
    for height, width in pyramid_sizes(first.shape[1], first.shape[2], params):
        pyramid.append(resize_bilinear(pyramid[-1], height, width, (step, step)))
    coarsest = pyramid[-1].shape[1:]
    flow = tf.zeros([2, num_pairs, *coarsest])
    for level, images in enumerate(reversed(pyramid)):
        if level:
            flow = _resize_flow(flow, images.shape[1:], step)
        flow = _solve_scale(images[:num_pairs], images[num_pairs:], flow, params)
    return tf.transpose(flow, [1, 2, 3, 0])


def _resize_flow(flow: tf.Tensor, size: Sequence[int], scale: float) -> tf.Tensor:
    _, num_pairs, *old_size = flow.shape
    height, width = size
    planes = tf.reshape(flow, [2 * num_pairs, *old_size])
    resized = resize_bilinear(planes, height, width) * scale
    return tf.reshape(resized, [2, num_pairs, height, width])


def _solve_scale(
    source: tf.Tensor, target: tf.Tensor, flow: tf.Tensor, params: TVL1Params
) -> tf.Tensor:
    """`warps` rounds of linearising the images around the flow and solving for the flow."""
    num_pairs, height, width = source.shape
    targets = (target, *centered_gradient(target))

    # The warped images are carried from round to round because a loop's state is computed once;
    # within a round XLA would gather the 48 taps again for each use. Round 0 only warps, so that
    # the program holds one warp; the last round's warp is not used.
    def solve_and_warp(
        index: tf.Tensor, flow: tf.Tensor, dual: tf.Tensor, *images: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        residual = _linearise(source, images, _inner(flow))
        change = tf.fill([num_pairs], tf.where(index > 0, tf.float32.max, -1.0))
        flow, dual = _solve_linearised(_State(flow, dual), residual, change, params)
        return index + 1, flow, dual, *_warp(targets, _inner(flow))

    rest = tf.zeros([2, 2, num_pairs, height + 1, width + 1])
    _, flow, *_ = tf.while_loop(
        lambda index, *_: index <= params.warps,
        solve_and_warp,
        (0, _margin_after(flow), rest, *targets),
    )
    return _inner(flow)


def _warp(targets: tuple[tf.Tensor, ...], flow: tf.Tensor) -> tuple[tf.Tensor, ...]:
    (target, along_x, along_y), inside = warp_bicubic(targets, flow)
    # Where the flow leaves the frame nothing is known: without a gradient only smoothness acts.
    return target, along_x * inside, along_y * inside


def _linearise(source: tf.Tensor, warped: tuple[tf.Tensor, ...], flow: tf.Tensor) -> _Linearised:
    """Around `flow`, given the warped target and its warped gradient."""
    target, along_x, along_y = warped
    gradient = tf.stack([along_x, along_y])
    square = tf.square(along_x) + tf.square(along_y)
    known = square > _MIN_SQUARE
    return _Linearised(
        gradient,
        tf.where(known, 1 / tf.where(known, square, 1.0), 0.0),
        target - along_x * flow[0] - along_y * flow[1] - source,
    )


def _solve_linearised(
    state: _State, residual: _Linearised, change: tf.Tensor, params: TVL1Params
) -> _State:
    """Alternates thresholding and dual steps until the flow moves less than `epsilon` (RMS).

    `change` [pairs] is the mean square change to begin with; below 0 nothing is done.
    """
    threshold = params.epsilon**2
    num_pairs = state.flow.shape[1]

    def keep_converged(change: tf.Tensor, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
        if num_pairs == 1:  # the loops end with it
            return new
        return tf.where((change > threshold)[:, None, None], new, old)

    def iterate(count: tf.Tensor, change: tf.Tensor, *old: tf.Tensor) -> tuple[tf.Tensor, ...]:
        previous = _State(*old)
        new = _iterate(previous, residual, params)
        flow = keep_converged(change, new.flow, previous.flow)
        dual = keep_converged(change, new.dual, previous.dual)
        moved = _mean_square_change(previous.flow, new.flow)
        if num_pairs > 1:
            moved = tf.where(change > threshold, moved, change)
        return count + 1, moved, flow, dual

    def filter_and_iterate(
        count: tf.Tensor, change: tf.Tensor, flow: tf.Tensor, dual: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        if params.median_filtering > 1:
            planes = _inner(flow)
            filtered = median_5x5(tf.reshape(planes, [-1, *planes.shape[2:]]))
            filtered = _margin_after(tf.reshape(filtered, planes.shape))
            flow = keep_converged(change, filtered, flow)
        _, change, flow, dual = tf.while_loop(
            lambda inner, change, *_: (
                (inner < params.inner_iterations) & tf.reduce_any(change > threshold)
            ),
            iterate,
            (0, change, flow, dual),
        )
        return count + 1, change, flow, dual

    _, _, *solved = tf.while_loop(
        lambda outer, change, *_: (
            (outer < params.outer_iterations) & tf.reduce_any(change > threshold)
        ),
        filter_and_iterate,
        (0, change, *state),
    )
    return _State(*solved)


def _iterate(state: _State, residual: _Linearised, params: TVL1Params) -> _State:
    """One step of the flow (thresholding, then the dual's divergence), and one of the dual."""
    limit = params.lambda_ * params.theta
    flow = _inner(state.flow)
    gradient = residual.gradient
    error = residual.offset + gradient[0] * flow[0] + gradient[1] * flow[1]
    # Zach et al. Eq. 15 in one line: along the gradient by the residual, but no further than limit.
    shift = tf.clip_by_value(-error * residual.inverse_square, -limit, limit)
    flow = _margin_after(flow + shift * gradient + params.theta * _divergence(state.dual))
    return _State(flow, _dual_step(flow, state.dual, params.tau / params.theta))


def _divergence(dual: tf.Tensor) -> tf.Tensor:
    """Backward differences, the negative adjoint of the forward differences of `_dual_step`."""
    along_x, along_y = dual[:, 0], dual[:, 1]  # [2, pairs, height + 1, width + 1]
    return (
        along_x[:, :, 1:, 1:]
        - along_x[:, :, 1:, :-1]
        + along_y[:, :, 1:, 1:]
        - along_y[:, :, :-1, 1:]
    )


def _dual_step(flow: tf.Tensor, dual: tf.Tensor, step: float) -> tf.Tensor:
    """Along the flow's forward differences, and back into the unit disc."""
    # Both differences are computed for both directions, the square root and the division twice,
    # but in one pass over memory; sharing them takes more passes and more time.
    flow = tf.broadcast_to(flow[:, None], dual.shape)
    height, width = dual.shape[3] - 1, dual.shape[4] - 1
    here = flow[..., :-1, :-1]
    along_x = (flow[..., :-1, 1:] - here) * _all_but_last(width)
    along_y = (flow[..., 1:, :-1] - here) * _all_but_last(height)[:, None]
    is_x = np.array([True, False])[:, None, None, None]
    scale = 1 / (1 + step * tf.sqrt(along_x * along_x + along_y * along_y))
    moved = (dual[..., 1:, 1:] + step * tf.where(is_x, along_x, along_y)) * scale
    return tf.pad(moved, [[0, 0], [0, 0], [0, 0], [1, 0], [1, 0]])


def _mean_square_change(previous: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    """Mean of the flow's squared change, [pairs]; from every fourth row, as a sum of all costs half
    an iteration."""
    change = tf.square(_inner(new)[:, :, ::4] - _inner(previous)[:, :, ::4])
    _, _, rows, columns = change.shape
    # Columns first: a sum along rows in memory is one long chain of scalar additions. The barrier
    # keeps XLA from merging the two sums into that.
    per_column = barrier(tf.reduce_sum(change, axis=[0, 2]))[0]
    return tf.reduce_sum(per_column, axis=1) / (rows * columns)


def _all_but_last(size: int) -> npt.NDArray[np.float32]:
    """1, ..., 1, 0: the forward difference at the last pixel is zero."""
    return (np.arange(size) < size - 1).astype(np.float32)


def _inner(padded: tf.Tensor) -> tf.Tensor:
    return padded[..., :-1, :-1]


def _margin_after(flow: tf.Tensor) -> tf.Tensor:
    return tf.pad(flow, [[0, 0], [0, 0], [0, 1], [0, 1]])
