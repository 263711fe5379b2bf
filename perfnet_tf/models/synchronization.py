"""Batch normalisation over the clips of all replicas, as if one device held them."""

from __future__ import annotations

import tensorflow as tf


def global_moments(inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Moments over all but the last axis, and over all replicas. For a replica's context.

    Squares are summed around the mean, for which the replicas meet twice: the difference of two
    large sums, as in Keras' own synchronised layer, loses what float32 has of small variances.

    Args:
        inputs: `[..., channels]`.

    Returns:
        float32 mean `[channels]`, biased variance `[channels]`, and number of values a channel.
    """
    context = tf.distribute.get_replica_context()
    values = tf.cast(inputs, tf.float32)
    count = tf.cast(tf.size(values) / tf.shape(values)[-1], tf.float32)
    sums = tf.concat([_sum(values), count[None]], 0)  # [channels + 1]
    sums = context.all_reduce(tf.distribute.ReduceOp.SUM, sums)
    mean, count = sums[:-1] / sums[-1], sums[-1]
    squares = _sum(tf.math.squared_difference(values, mean))
    variance = context.all_reduce(tf.distribute.ReduceOp.SUM, squares) / count
    return mean, variance, count


def _sum(values: tf.Tensor) -> tf.Tensor:
    # Axis by axis: a CPU adds up one value after the other, and would lose bits in one long sum.
    while values.shape.rank > 1:
        values = tf.reduce_sum(values, axis=0)
    return values
