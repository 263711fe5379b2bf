"""The optimizer of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tf_keras

from perfnet_tf.config import TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.training.schedules import build_schedule, steps_per_epoch

#: A new optimizer, or a function of the configuration and the run's number of steps that makes one.
OptimizerSource: TypeAlias = (
    tf_keras.optimizers.Optimizer | Callable[[TrainConfig, int], tf_keras.optimizers.Optimizer]
)


class _Entry(NamedTuple):
    """How an optimizer is made: `make(schedule, momentum, weight_decay, **options)`."""

    make: Callable[..., tf_keras.optimizers.Optimizer]
    decays_kernels: bool = False


def _sgd(schedule: Any, momentum: float, _: float, **options: Any) -> tf_keras.optimizers.Optimizer:
    return tf_keras.optimizers.SGD(schedule, momentum=momentum, **options)


def _adam(
    schedule: Any, momentum: float, _: float, **options: Any
) -> tf_keras.optimizers.Optimizer:
    return tf_keras.optimizers.Adam(schedule, beta_1=momentum, **options)


def _adamw(
    schedule: Any, momentum: float, weight_decay: float, **options: Any
) -> tf_keras.optimizers.Optimizer:
    return tf_keras.optimizers.AdamW(schedule, weight_decay, beta_1=momentum, **options)


#: The optimizers that `config.OPTIMIZERS` names.
_OPTIMIZERS: Mapping[str, _Entry] = {
    "sgd": _Entry(_sgd),
    "adam": _Entry(_adam),
    "adamw": _Entry(_adamw, decays_kernels=True),
}


def decays_kernels(config: TrainConfig) -> bool:
    """Whether `config.optimizer` decays kernels itself, so that the loss must not."""
    return _OPTIMIZERS[config.optimizer].decays_kernels


def build_optimizer(
    config: TrainConfig,
    num_clips: int,
    steps_done: int = 0,
    *,
    model: tf_keras.Model | None = None,
    weight_decay: float = 0.0,
) -> tf_keras.optimizers.Optimizer:
    """What `config.optimizer` names, on `build_schedule`; clips by `config.clip_norm`.

    Keras sums gradients over replicas before it clips, so every replica clips alike.

    Args:
        config, num_clips, steps_done: as of `build_schedule`.
        model: built; what is trained. Needed by an optimizer that `decays_kernels`.
        weight_decay: of such an optimizer: each step takes `learning_rate * weight_decay` of every
            kernel. Biases and batch norms' scales and offsets, which have one dimension, are left
            out, as in the models' decay by the loss.
    """
    entry = _OPTIMIZERS[config.optimizer]
    optimizer = entry.make(
        build_schedule(config, num_clips, steps_done),
        config.momentum,
        weight_decay,
        global_clipnorm=config.clip_norm,
    )
    if entry.decays_kernels and model is not None:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if v.shape.rank <= 1]
        )
    return optimizer


def make_optimizer(
    source: OptimizerSource | None,
    config: TrainConfig,
    num_clips: int,
    steps_done: int = 0,
    *,
    model: tf_keras.Model | None = None,
    weight_decay: float = 0.0,
) -> tf_keras.optimizers.Optimizer:
    """The optimizer of a new run: `build_optimizer`'s, or a custom one.

    Args:
        source: None, an optimizer, or a function that makes one.
        config: of the run.
        num_clips: training clips in an epoch.
        steps_done: by a run that is trained further; the optimizer counts from 0 again.
        model, weight_decay: as of `build_optimizer`.

    Raises:
        InputError: it is no `tf_keras` optimizer, or has made steps; or gradients that a custom one
            cannot be told to clip.
    """
    if source is None:
        return build_optimizer(
            config, num_clips, steps_done, model=model, weight_decay=weight_decay
        )
    if config.clip_norm is not None:
        raise InputError(
            "`clip_norm` is of the configuration's optimizers. Received: "
            f"clip_norm={config.clip_norm:g} and a custom `optimizer`. Give that its own "
            "global_clipnorm."
        )
    optimizer = source
    if not isinstance(source, tf_keras.optimizers.Optimizer) and callable(source):
        total = config.epochs * steps_per_epoch(num_clips, config.batch_size)
        optimizer = source(config, total - steps_done)
    if not isinstance(optimizer, tf_keras.optimizers.Optimizer):
        raise InputError(
            "The `optimizer` must be a tf_keras.optimizers.Optimizer, or a function "
            f"(train_config, total_steps) that returns one. Received: {optimizer!r}."
        )
    if int(optimizer.iterations.numpy()):
        raise InputError(
            "A run needs a new `optimizer`: it counts the steps, and its state is restored from "
            f"the checkpoints. Received: one with {int(optimizer.iterations.numpy())} steps. "
            "Pass a function that makes it."
        )
    return optimizer


def describe_optimizer(source: OptimizerSource) -> str:
    """The name of an optimizer's class, or of the function that makes it."""
    if isinstance(source, tf_keras.optimizers.Optimizer):
        return type(source).__name__
    return getattr(source, "__qualname__", type(source).__name__)
