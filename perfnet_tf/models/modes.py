"""Modes that layers read while a network is traced: each holds inside of a `with` block.

They are per thread, since a strategy traces each of its replicas in a thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Any

import tensorflow as tf


class _Modes(threading.local):
    rematerializes: bool | Collection[str] = False
    block = ""
    observer: Callable[[Any], None] | None = None
    keeping_all = False
    recomputing = False
    synchronizes = False
    for_any_device = False
    inferring = False
    for_tpu = False
    building = False


_modes = _Modes()


@contextlib.contextmanager
def _set(**values: Any) -> Iterator[None]:
    before = {name: getattr(_modes, name) for name in values}
    for name, value in values.items():
        setattr(_modes, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_modes, name, value)


def rematerialization(
    blocks: bool | Collection[str] = True,
) -> contextlib.AbstractContextManager[None]:
    """Inside the `with`, what `call_block` and `call_part` call in training keeps its inputs only.

    Args:
        blocks: all (True), none (False), or the names of some blocks and parts of blocks.
    """
    return _set(rematerializes=blocks)


def is_rematerializing(block: str) -> bool:
    """Whether the activations of a block, or part of one, are computed again for the gradient."""
    blocks = _modes.rematerializes
    return blocks if isinstance(blocks, bool) else block in blocks


def within_block(name: str) -> contextlib.AbstractContextManager[None]:
    """Inside the `with`, `call_block` calls the block of this name."""
    return _set(block=name)


def current_block() -> str:
    """The name of the block that `call_block` calls; empty outside of one."""
    return _modes.block


def observed_blocks(observer: Callable[[Any], None]) -> contextlib.AbstractContextManager[None]:
    """Inside the `with`, `observer` hears of what `rematerialization` calls in training.

    Its argument is an `ObservedCall`.
    """
    return _set(observer=observer)


def block_observer() -> Callable[[Any], None] | None:
    """That of `observed_blocks`."""
    return _modes.observer


def keeping_all() -> contextlib.AbstractContextManager[None]:
    """Inside the `with`, nothing is left to be computed again: all of it will be, or has been."""
    return _set(rematerializes=False, keeping_all=True)


def is_keeping_all() -> bool:
    """Whether no part of what is called may be left to be computed again."""
    return _modes.keeping_all


def recomputation() -> contextlib.AbstractContextManager[None]:
    """Inside the block, layers are called for the second time in a step."""
    return _set(rematerializes=False, keeping_all=True, recomputing=True)


def is_recomputing() -> bool:
    """Whether layers are called for the second time in a step: they must not change variables."""
    return _modes.recomputing


def synchronized_batch_norm(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """Inside the block, batch norm in training takes the moments of all replicas' clips."""
    return _set(synchronizes=enabled)


def is_synchronized() -> bool:
    """Whether batch norm must ask the other replicas."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return _modes.synchronizes and replicas > 1


def traced_for_any_device() -> contextlib.AbstractContextManager[None]:
    """Inside the block, networks are traced with nothing that is right or fast on CPUs only."""
    return _set(for_any_device=True)


def inference(enabled: bool = True) -> contextlib.AbstractContextManager[None]:
    """Inside the block, networks are traced with nothing that is fast in training only."""
    return _set(inferring=enabled or _modes.inferring)


def is_inferring() -> bool:
    """Whether what is traced is not trained."""
    return _modes.inferring


def traced_for_tpu() -> contextlib.AbstractContextManager[None]:
    """Inside the block, networks are traced as they are under a `TPUStrategy`."""
    return _set(for_any_device=True, for_tpu=True)


def compiles_by_xla() -> bool:
    """Whether what is traced may be compiled by XLA: for a TPU, or who knows where."""
    return _modes.for_any_device or runs_on_tpu()


def runs_on_tpu() -> bool:
    """Whether what is traced will run on a TPU.

    There, videos keep their five axes. A TPU stores the channels and the batch innermost, so that
    to merge the batch with the frames, which elsewhere costs nothing, moves the whole video.
    """
    strategy = tf.distribute.get_strategy()
    return _modes.for_tpu or isinstance(strategy, tf.distribute.TPUStrategy)


def building() -> contextlib.AbstractContextManager[None]:
    """Inside the block, layers are called for their weights only: what they return has a shape."""
    return _set(building=True)


def is_building() -> bool:
    """Whether nothing is computed with what layers return."""
    return _modes.building


def trains_on_cpu() -> bool:
    """Whether what is traced will train on this machine's CPU."""
    return runs_on_cpu() and not is_inferring()


def runs_on_cpu() -> bool:
    """Whether what is traced will run on this machine's CPU: there is no GPU and no TPU."""
    return not (
        _modes.for_any_device
        or isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy)
        or tf.config.list_logical_devices("GPU")
    )
