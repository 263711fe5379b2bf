"""The number format that networks compute in: set for as long as a block lasts, and its speed."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator

import tensorflow as tf
import tf_keras

from perfnet_tf.config import INFERENCE_PRECISIONS, TRAINING_PRECISIONS
from perfnet_tf.errors import check_choice
from perfnet_tf.models.modes import runs_on_cpu

#: Slowdown from which a precision is called slow (our choice).
_SLOW = 2.0
#: Slowdown from which a CPU counts as one without bfloat16 (our choice); AVX2 cores measured 33.
_EMULATED = 6.0


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


def lacks_bfloat16() -> bool:
    """Whether what is traced will run on a CPU that computes bfloat16 without oneDNN.

    TensorFlow's own kernels then take ten to a hundred times as long as in float32, and add up in
    bfloat16. Computed in float32 and rounded, as on a TPU or with AMX, it takes little longer.
    """
    return runs_on_cpu() and bfloat16_slowdown() > _EMULATED


def slow_precision(precision: str, *, frozen: bool = False) -> str | None:
    """A note for users whose device gains nothing by computing in `precision`; else None.

    Measured, in a fraction of a second, rather than read from a list of processors.

    Args:
        precision: as `precision_policy`.
        frozen: whether a `FrozenGraph` computes, which is the same for every device.
    """
    if "bfloat16" not in precision or bfloat16_slowdown() < _SLOW:
        return None
    remedy = (
        "bfloat16 is for TPUs, GPUs, and processors with AMX or AVX512-BF16; elsewhere take "
        "--precision=float32."
    )
    if lacks_bfloat16() and not frozen:
        return (
            f"this processor has no bfloat16: convolutions compute in float32 and round. {remedy}"
        )
    return (
        f"a video's convolution takes {bfloat16_slowdown():.0f} times as long in bfloat16 as in "
        f"float32 on this machine. {remedy}"
    )


@functools.cache
def bfloat16_slowdown() -> float:
    """Time of a 3-D convolution in bfloat16, over that in float32, on the default device."""
    fastest = []
    with tf.init_scope():  # a network may be traced at the moment
        for dtype in (tf.float32, tf.bfloat16):
            video, kernel = tf.ones([1, 4, 14, 14, 64], dtype), tf.ones([3, 3, 3, 64, 64], dtype)
            durations = []
            for _ in range(4):  # the first is a warm-up
                start = time.perf_counter()
                tf.nn.conv3d(video, kernel, [1] * 5, "SAME").numpy()
                durations.append(time.perf_counter() - start)
            fastest.append(min(durations[1:]))
    return fastest[1] / fastest[0]
