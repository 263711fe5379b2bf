"""The number format that networks compute in, set for as long as a block lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tf_keras

from perfnet_tf.errors import check_choice

PRECISIONS = ("float32", "mixed_bfloat16")


@contextlib.contextmanager
def precision_policy(precision: str) -> Iterator[None]:
    """Makes Keras layers built inside the block compute in `precision`; restores the policy after.

    Args:
        precision: `float32`, or `mixed_bfloat16`: variables, batch norm's moments, logits and
            losses stay float32.

    Raises:
        InputError: another precision.
    """
    check_choice("precision", precision, PRECISIONS)
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)
