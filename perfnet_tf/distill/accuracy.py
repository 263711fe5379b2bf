"""Whether logits name the right class."""

from __future__ import annotations

import tensorflow as tf


def in_top(logits: tf.Tensor, labels: tf.Tensor, k: int) -> tf.Tensor:
    """Whether each right class is among the `k` highest logits; of equals the lower index wins.

    Of several right classes one is enough.

    Arithmetic only, where `tf.math.in_top_k` does not compile for every device.

    Args:
        logits: float `[batch, classes]`.
        labels: integer `[batch]`, a negative one counts as 0; or float `[batch, classes]` of
            several labels.
        k: how many.

    Returns:
        float32 `[batch]`, 1 or 0. A NaN among the logits makes 0.
    """
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2:
        # Where the likeliest of them is, the others are not ahead of it.
        labels = tf.argmax(tf.where(labels > 0, logits, logits.dtype.min), axis=1)
    labels = tf.maximum(tf.cast(labels, tf.int32), 0)[:, None]
    own = tf.gather(logits, labels, axis=1, batch_dims=1)  # [batch, 1]
    lower_index = tf.range(tf.shape(logits)[1])[None] < labels
    ahead = (logits > own) | ((logits == own) & lower_index)  # [batch, classes]
    valid = tf.reduce_all(tf.math.is_finite(logits), axis=1)
    return tf.cast((tf.math.count_nonzero(ahead, axis=1) < k) & valid, tf.float32)
