"""Which devices train together."""

from __future__ import annotations

import tensorflow as tf
from official.common import distribute_utils

from perfnet_tf.errors import InputError, check_choice

STRATEGIES = ("auto", "one_device", "mirrored", "tpu")


def make_strategy(name: str = "auto", *, tpu: str = "local") -> tf.distribute.Strategy:
    """A distribution strategy by name.

    Args:
        name: `auto`: mirrored over all GPUs if there are several, else one device; `one_device`:
            the first GPU, or the CPU; `mirrored`: all GPUs of this machine; `tpu`.
        tpu: name or address of the TPU.

    Raises:
        InputError: an unknown name, or devices that are not there.
    """
    check_choice("strategy", name, STRATEGIES)
    if name == "tpu":
        try:
            return distribute_utils.get_distribution_strategy("tpu", tpu_address=tpu)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(f"No TPU at {tpu!r}: {str(error).splitlines()[0]}") from error
    gpus = len(tf.config.list_physical_devices("GPU"))
    if name == "auto":
        name = "mirrored" if gpus > 1 else "one_device"
    if name == "one_device":
        # The default strategy: OneDeviceStrategy adds nothing but indirection.
        return tf.distribute.get_strategy()
    if name == "mirrored" and gpus < 1:
        raise InputError(
            "strategy=mirrored needs GPUs, and TensorFlow sees none. Take --strategy=one_device."
        )
    return distribute_utils.get_distribution_strategy(name, num_gpus=gpus)
