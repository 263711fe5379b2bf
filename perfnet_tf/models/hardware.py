"""What a network that is being traced will run on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import tensorflow as tf


class _State(threading.local):  # replicas of a strategy are traced by a thread each
    for_accelerator = False


_state = _State()


def trains_on_cpu() -> bool:
    """Whether training is this machine's CPU's: there is no GPU, and the strategy has no TPU."""
    return not (
        _state.for_accelerator
        or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
        or tf.config.list_logical_devices("GPU")
    )


@contextlib.contextmanager
def traced_for_accelerator() -> Iterator[None]:
    """Inside the block, networks are traced as if an accelerator were there, to be compiled for."""
    before, _state.for_accelerator = _state.for_accelerator, True
    try:
        yield
    finally:
        _state.for_accelerator = before
