"""The number format that networks compute in, set for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras

from perfnet_tf.config import INFERENCE_PRECISIONS, TRAINING_PRECISIONS
from perfnet_tf.errors import check_choice


@contextlib.contextmanager
def precision_policy(precision: str) -> Iterator[None]:
    """Makes Keras layers built inside the block compute in `precision`; restores the policy after.

    Args:
        precision: `float32`; `mixed_bfloat16`: variables, batch norm's moments, logits and losses
            stay float32; or `bfloat16`, of variables also, for inference.

    Raises:
        InputError: another precision.
    """
    check_choice("precision", precision, dict.fromkeys(TRAINING_PRECISIONS + INFERENCE_PRECISIONS))
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
