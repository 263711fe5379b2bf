"""TV-L1 optical flow of image pairs as one XLA program with static shapes.

Source: Zach, Pock and Bischof 2007; Sanchez, Meinhardt-Llopis and Facciolo, IPOL 2013. Pyramid,
warps, median filter and stopping rule follow OpenCV's `DualTVL1OpticalFlow`.

Images and flow components are float32 `[pairs, height, width]`; x is the first component.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from perfnet_tf.flow.grid import centered_gradient, resize_bilinear, warp_bicubic
from perfnet_tf.flow.median import median_5x5
from perfnet_tf.flow.tvl1_params import TVL1Params

# OpenCV stops the pyramid here too.
_MIN_SIDE = 16


class _State(NamedTuple):
    """Flow (dx, dy) and its dual variables: one vector field for each component."""

    dx: tf.Tensor
    dy: tf.Tensor
    dual_xx: tf.Tensor
    dual_xy: tf.Tensor
    dual_yx: tf.Tensor
    dual_yy: tf.Tensor


class _Linearised(NamedTuple):
    """The brightness residual around the warp: `offset + grad_x * dx + grad_y * dy`."""

    grad_x: tf.Tensor
    grad_y: tf.Tensor
    inverse_square: tf.Tensor  # 1 / |grad|^2, 0 where there is no gradient
    offset: tf.Tensor


def solve_tvl1(
    first: tf.Tensor,
    second: tf.Tensor,
    initial: tf.Tensor | None,
    params: TVL1Params,
) -> tf.Tensor:
    """Flow from `first` to `second`.

    Args:
        first, second: float32 `[pairs, height, width]`, grey 0..255, static shape.
        initial: float32 `[pairs, height, width, 2]` to start from, or None for zero.
        params: see `TVL1Params`.

    Returns:
        float32 `[pairs, height, width, 2]`, (dx, dy) in pixels. Pairs do not influence each other.
    """
    pyramid = [(first, second)]
    for height, width in _coarser_sizes(first.shape[1], first.shape[2], params):
        steps = (1 / params.scale_step, 1 / params.scale_step)
        finer = pyramid[-1]
        pyramid.append(
            (
                resize_bilinear(finer[0], height, width, steps),
                resize_bilinear(finer[1], height, width, steps),
            )
        )
    coarsest = pyramid[-1][0]
    if initial is None:
        dx = dy = tf.zeros_like(coarsest)
    else:
        scale = params.scale_step ** (len(pyramid) - 1)
        dx = resize_bilinear(initial[..., 0], *coarsest.shape[1:]) * scale
        dy = resize_bilinear(initial[..., 1], *coarsest.shape[1:]) * scale
    for level, (source, target) in reversed(list(enumerate(pyramid))):
        dx, dy = _solve_scale(source, target, dx, dy, params)
        if level:
            size = pyramid[level - 1][0].shape[1:]
            dx = resize_bilinear(dx, *size) / params.scale_step
            dy = resize_bilinear(dy, *size) / params.scale_step
    return tf.stack([dx, dy], axis=-1)


def _coarser_sizes(height: int, width: int, params: TVL1Params) -> list[tuple[int, int]]:
    sizes = []
    for _ in range(params.nscales - 1):
        height, width = round(height * params.scale_step), round(width * params.scale_step)
        if min(height, width) < _MIN_SIDE:
            break
        sizes.append((height, width))
    return sizes


def _solve_scale(
    source: tf.Tensor, target: tf.Tensor, dx: tf.Tensor, dy: tf.Tensor, params: TVL1Params
) -> tuple[tf.Tensor, tf.Tensor]:
    """`warps` rounds of linearising the images around the flow and solving for the flow."""
    rest = tf.zeros_like(source)
    gradient = centered_gradient(target)

    def warp_and_solve(index: tf.Tensor, *state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        residual = _linearise(source, target, gradient, state[0], state[1])
        return index + 1, *_solve_linearised(_State(*state), residual, params)

    _, dx, dy, *_ = tf.while_loop(
        lambda index, *_: index < params.warps,
        warp_and_solve,
        (0, dx, dy, rest, rest, rest, rest),
    )
    return dx, dy


def _linearise(
    source: tf.Tensor,
    target: tf.Tensor,
    gradient: tuple[tf.Tensor, tf.Tensor],
    dx: tf.Tensor,
    dy: tf.Tensor,
) -> _Linearised:
    (warped, grad_x, grad_y), inside = warp_bicubic((target, *gradient), dx, dy)
    # Where the flow leaves the frame nothing is known: without a gradient only smoothness acts.
    grad_x, grad_y = grad_x * inside, grad_y * inside
    square = grad_x * grad_x + grad_y * grad_y
    known = square > 1.1920929e-07  # float32's epsilon, OpenCV's threshold
    return _Linearised(
        grad_x,
        grad_y,
        tf.where(known, 1 / tf.where(known, square, 1.0), 0.0),
        warped - grad_x * dx - grad_y * dy - source,
    )


def _solve_linearised(state: _State, residual: _Linearised, params: TVL1Params) -> _State:
    """Alternates thresholding and dual steps until the flow moves less than `epsilon` (RMS)."""
    threshold = params.epsilon**2
    num_pairs = state.dx.shape[0]

    def iterate(count: tf.Tensor, change: tf.Tensor, *old: tf.Tensor) -> tuple[tf.Tensor, ...]:
        previous = _State(*old)
        new = _iterate(previous, residual, params)
        moved = tf.reduce_mean(
            tf.square(new.dx - previous.dx) + tf.square(new.dy - previous.dy), axis=[1, 2]
        )
        if num_pairs > 1:  # a pair that has converged stays as it is
            active = change > threshold
            moved = tf.where(active, moved, change)
            mask = active[:, None, None]
            new = _State(*(tf.where(mask, n, o) for n, o in zip(new, previous, strict=True)))
        return count + 1, moved, *new

    def filter_and_iterate(
        count: tf.Tensor, change: tf.Tensor, *old: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        start = _State(*old)
        if params.median_filtering > 1:
            dx, dy = median_5x5(start.dx), median_5x5(start.dy)
            if num_pairs > 1:
                mask = (change > threshold)[:, None, None]
                dx, dy = tf.where(mask, dx, start.dx), tf.where(mask, dy, start.dy)
            start = start._replace(dx=dx, dy=dy)
        _, change, *new = tf.while_loop(
            lambda inner, change, *_: (
                (inner < params.inner_iterations) & tf.reduce_any(change > threshold)
            ),
            iterate,
            (0, change, *start),
        )
        return count + 1, change, *new

    unconverged = tf.fill([num_pairs], tf.float32.max)
    _, _, *solved = tf.while_loop(
        lambda outer, change, *_: (
            (outer < params.outer_iterations) & tf.reduce_any(change > threshold)
        ),
        filter_and_iterate,
        (0, unconverged, *state),
    )
    return _State(*solved)


def _iterate(state: _State, residual: _Linearised, params: TVL1Params) -> _State:
    """One step of the flow (thresholding, then the dual's divergence), and one of the dual."""
    limit = params.lambda_ * params.theta
    step = params.tau / params.theta
    error = residual.offset + residual.grad_x * state.dx + residual.grad_y * state.dy
    # Zach et al. Eq. 15 in one line: along the gradient by the residual, but no further than limit.
    shift = tf.clip_by_value(-error * residual.inverse_square, -limit, limit)
    dx = state.dx + shift * residual.grad_x
    dx += params.theta * _divergence(state.dual_xx, state.dual_xy)
    dy = state.dy + shift * residual.grad_y
    dy += params.theta * _divergence(state.dual_yx, state.dual_yy)
    return _State(
        dx,
        dy,
        *_dual_step(dx, state.dual_xx, state.dual_xy, step),
        *_dual_step(dy, state.dual_yx, state.dual_yy, step),
    )


def _dual_step(
    flow: tf.Tensor, dual_x: tf.Tensor, dual_y: tf.Tensor, step: float
) -> tuple[tf.Tensor, tf.Tensor]:
    grad_x = tf.pad(flow[:, :, 1:] - flow[:, :, :-1], [[0, 0], [0, 0], [0, 1]])
    grad_y = tf.pad(flow[:, 1:] - flow[:, :-1], [[0, 0], [0, 1], [0, 0]])
    scale = 1 / (1 + step * tf.sqrt(grad_x * grad_x + grad_y * grad_y))
    return (dual_x + step * grad_x) * scale, (dual_y + step * grad_y) * scale


def _divergence(dual_x: tf.Tensor, dual_y: tf.Tensor) -> tf.Tensor:
    """Backward differences, the negative adjoint of the forward differences of `_dual_step`."""
    left = tf.pad(dual_x[:, :, :-1], [[0, 0], [0, 0], [1, 0]])
    above = tf.pad(dual_y[:, :-1], [[0, 0], [1, 0], [0, 0]])
    return dual_x - left + dual_y - above
