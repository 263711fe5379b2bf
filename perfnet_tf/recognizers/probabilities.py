"""Probabilities of classes from logits."""

from __future__ import annotations

import tensorflow as tf

from perfnet_tf.label_kinds import MULTI_LABEL


def probabilities_of(logits: tf.Tensor, label_kind: str) -> tf.Tensor:
    """Probabilities in [0, 1] of the classes.

    Args:
        logits: float `[..., classes]`.
        label_kind: `single`: they sum to 1; `multi`: each is independent of the others.

    Returns:
        Same shape and dtype.
    """
    if label_kind == MULTI_LABEL:
        return tf.nn.sigmoid(logits)
    return tf.nn.softmax(logits)
