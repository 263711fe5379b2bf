"""The order in which a compiler computes what does not depend on one another."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf


def computed_after(value: tf.Tensor, earlier: Iterable[tf.Tensor]) -> tf.Tensor:
    """`value`, in a way that no compiler can compute before `earlier`.

    XLA ignores control dependencies, merges two computations of the same thing, and computes what
    is needed late whenever it likes, so that the memory of both is taken at once. (It also sees
    through `tf.recompute_grad`, whose dependency is on a comparison of a boolean with itself.)

    Args:
        value: of floats or integers.
        earlier: float tensors; none changes nothing.

    Returns:
        `value`, unless the first element of a tensor in `earlier` is not a number: then anything.
    """
    for tensor in earlier:
        first = tf.reshape(tensor, [-1])[:1]
        value += tf.cast(tf.reduce_any(tf.math.is_nan(first)), value.dtype)
    return value


def executed_after(value: tf.Tensor, earlier: Iterable[tf.Tensor]) -> tf.Tensor:
    """`value`, which TensorFlow does not hand on before `earlier`, without a copy. XLA may."""
    with tf.control_dependencies(list(earlier)):
        return tf.identity(value)
