"""Which pixels of each row a thick line with round ends covers.

Such a line is convex, so in a row it covers one run of pixels: two numbers a row, found by a few
dozen operations, where asking every pixel for its distance takes some ten operations a pixel.
"""

from __future__ import annotations

import tensorflow as tf

_FAR = 1e9
# A direction this close to an axis, as a share of a unit vector, is taken to be this far from it.
_FLAT = 1e-6


def row_spans(
    start: tf.Tensor, end: tf.Tensor, radius: tf.Tensor, height: tf.Tensor, width: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The pixels whose centres lie within `radius` of a segment, row by row.

    Args:
        start, end: float32 `[..., 2]`, ends of the segments, (x, y) in pixels; whole numbers are
            pixel centres. They may be equal.
        radius: float32 `[...]`, pixels; nothing is covered where it is negative.
        height, width: int32 scalars, size of the frame.

    Returns:
        first, count: int32 `[..., height]`: the run's first pixel, and the number of its pixels
        within the frame, 0 where there is none.
    """
    rows = tf.range(tf.cast(height, tf.float32), dtype=tf.float32)
    vector = end - start
    length = tf.norm(vector, axis=-1, keepdims=True)  # [..., 1], as all below until rows come in
    is_point = length < 1e-3
    direction = tf.where(
        is_point, tf.constant([1.0, 0.0]), vector / tf.where(is_point, 1.0, length)
    )
    length = tf.where(is_point, 0.0, length)
    dx, dy = direction[..., :1], direction[..., 1:]
    radius = radius[..., None]

    # The rectangle: within `radius` of the line, and between its ends.
    below = rows - start[..., 1:]  # [..., height], from here on
    side = [(below * dx + sign * radius) / _away_from_zero(dy) for sign in (-1.0, 1.0)]
    along = [(share * length - below * dy) / _away_from_zero(dx) for share in (0.0, 1.0)]
    left = tf.maximum(tf.minimum(*side), tf.minimum(*along)) + start[..., :1]
    right = tf.minimum(tf.maximum(*side), tf.maximum(*along)) + start[..., :1]
    missed = (left > right) | (radius < 0.0)
    left, right = tf.where(missed, _FAR, left), tf.where(missed, -_FAR, right)
    # The round ends.
    for point in (start, end):
        square = tf.square(radius) - tf.square(rows - point[..., 1:])
        met = (square >= 0.0) & (radius >= 0.0)
        half = tf.where(met, tf.sqrt(tf.maximum(square, 0.0)), -_FAR)
        left = tf.minimum(left, point[..., :1] - half)
        right = tf.maximum(right, point[..., :1] + half)

    limit = tf.cast(width, tf.float32)
    first = tf.clip_by_value(tf.math.ceil(left), 0.0, limit)
    stop = tf.clip_by_value(tf.math.floor(right) + 1.0, first, limit)
    return tf.cast(first, tf.int32), tf.cast(stop - first, tf.int32)


def _away_from_zero(value: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.abs(value) < _FLAT, _FLAT, value)
