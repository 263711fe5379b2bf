"""Pixel grids: edges, pyramids and bicubic sampling, on float32 `[batch, height, width]` tensors.

Shapes are static and edges repeat. Everything here is gathers with fixed indices and elementwise
arithmetic: exact in float32 on every device, where a matrix product may run in bfloat16 or TF32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

# OpenCV's bicubic parameter. Keys' -0.5 is closer to band-limited interpolation, but the flow's
# data term was tuned with this one.
_CUBIC = -0.75


def barrier(*tensors: tf.Tensor) -> list[tf.Tensor]:
    """Keeps XLA from computing `tensors` again inside of each of their consumers."""
    return list(gen_xla_ops.xla_optimization_barrier(input=list(tensors)))


def extend_edges(image: tf.Tensor, before: int, after: int) -> tf.Tensor:
    """`image` with `before` rows and columns repeated at top and left, `after` at the others."""
    image = tf.concat([image[:, :1]] * before + [image] + [image[:, -1:]] * after, axis=1)
    return tf.concat([image[:, :, :1]] * before + [image] + [image[:, :, -1:]] * after, axis=2)


def resize_bilinear(
    image: tf.Tensor, height: int, width: int, steps: tuple[float, float] | None = None
) -> tf.Tensor:
    """`image` at another size by linear interpolation without antialiasing (OpenCV's INTER_LINEAR).

    Args:
        image: `[batch, h, w]`.
        height, width: of the result.
        steps: distance of neighbouring samples in source pixels (y, x); None fits the size.

    Returns:
        `[batch, height, width]`.
    """
    for axis, size in ((1, height), (2, width)):
        source = image.shape[axis]
        step = steps[axis - 1] if steps else source / size
        position = (np.arange(size) + 0.5) * step - 0.5
        low = np.floor(position)
        share = (position - low).astype(np.float32)
        share = share[:, None] if axis == 1 else share
        image = (
            tf.gather(image, _within(low, source), axis=axis) * (1 - share)
            + tf.gather(image, _within(low + 1, source), axis=axis) * share
        )
    return image


def centered_gradient(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Half the difference of the two neighbours along x and along y, edges repeated."""
    gradient = []
    for axis in (2, 1):
        size = image.shape[axis]
        after = tf.gather(image, _within(np.arange(1, size + 1), size), axis=axis)
        before = tf.gather(image, _within(np.arange(-1, size - 1), size), axis=axis)
        gradient.append(0.5 * (after - before))
    return gradient[0], gradient[1]


def warp_bicubic(images: Sequence[tf.Tensor], flow: tf.Tensor) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Each of `images` at (x + dx, y + dy).

    Args:
        images: `[batch, height, width]` each.
        flow: `[2, batch, height, width]`, dx and dy in pixels; finite.

    Returns:
        The sampled images, and float `[batch, height, width]`: 1 where the sample is inside of
        the frame, 0 where it was moved to the frame's edge.
    """
    _, batch, height, width = flow.shape
    x = tf.range(width, dtype=tf.float32) + flow[0]
    y = tf.range(height, dtype=tf.float32)[:, None] + flow[1]
    inside = tf.cast((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1), tf.float32)
    x = tf.clip_by_value(x, 0, width - 1)
    y = tf.clip_by_value(y, 0, height - 1)
    left, top = tf.floor(x), tf.floor(y)

    # One border pixel before and two after hold every tap, so that a tap is a fixed offset.
    stride = width + 3
    first = tf.cast(top, tf.int32) * stride + tf.cast(left, tf.int32)
    first += tf.range(batch)[:, None, None] * ((height + 3) * stride)
    flat = barrier(*(tf.reshape(extend_edges(image, 1, 2), [-1]) for image in images))
    first, right_share, down_share = barrier(first, x - left, y - top)
    weights = barrier(*_cubic_weights(right_share), *_cubic_weights(down_share))
    columns, rows = weights[:4], weights[4:]
    # Images apart, not stacked: XLA fuses the 16 gathers of one image, but not those of a stack.
    return [
        sum(
            rows[j]
            * sum(tf.gather(pixels, first + (j * stride + i)) * columns[i] for i in range(4))
            for j in range(4)
        )
        for pixels in flat
    ], inside


def _cubic_weights(share: tf.Tensor) -> list[tf.Tensor]:
    """Weights of the four taps at -1, 0, 1, 2 for a sample at `share` in [0, 1)."""
    away = share + 1
    rest = 1 - share
    outer = ((_CUBIC * away - 5 * _CUBIC) * away + 8 * _CUBIC) * away - 4 * _CUBIC
    inner = ((_CUBIC + 2) * share - (_CUBIC + 3)) * share * share + 1
    inner_right = ((_CUBIC + 2) * rest - (_CUBIC + 3)) * rest * rest + 1
    return [outer, inner, inner_right, 1 - outer - inner - inner_right]


def _within(index: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.int32]:
    result: npt.NDArray[np.int32] = np.clip(index, 0, size - 1).astype(np.int32)
    return result
