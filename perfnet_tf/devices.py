"""The device that finds people and optical flow, and how many frames it is given at once."""

from __future__ import annotations

import tensorflow as tf

from perfnet_tf.errors import InputError

#: Bytes of an accelerator's memory that a batch may take (our choice). The workers of `prepare`
#: share a GPU: each needs this, its network, and what the driver takes for every process.
BATCH_MEMORY = 512 * 2**20

#: Frames beyond which a batch fills any accelerator (our choice).
_MOST_FRAMES = 64


def find_device() -> str:
    """The name of the first accelerator, such as `/device:GPU:0`; the CPU's where there is none."""
    for kind in ("GPU", "TPU"):
        for device in tf.config.list_logical_devices(kind):
            return str(device.name)
    return "/device:CPU:0"


def check_device(name: str | None) -> str:
    """The device of a name; None takes that of `find_device`.

    Raises:
        InputError: TensorFlow has no such device.
    """
    if name is None:
        return find_device()
    devices = [str(device.name) for device in tf.config.list_logical_devices()]
    known = {device.removeprefix("/device:"): device for device in devices}
    if name.removeprefix("/device:") not in known:
        raise InputError(
            f"`device` must be one that TensorFlow has: {', '.join(known)}. Received: {name!r}."
        )
    return known[name.removeprefix("/device:")]


def is_accelerator(device: str) -> bool:
    """Whether the device of this name is a GPU or TPU."""
    return ":CPU:" not in f":{device}".upper()


def frames_at_once(bytes_per_frame: int, memory: int = BATCH_MEMORY) -> int:
    """Frames in an accelerator's batch: what `memory` holds, a power of two from 1 to 64.

    The 64 frames that `prepare` computes between encodings are then whole batches.
    """
    fitting = max(1, min(_MOST_FRAMES, memory // bytes_per_frame))
    return 1 << (fitting.bit_length() - 1)
