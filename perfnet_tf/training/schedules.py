"""The optimizer of a run, and its learning rate over the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tf_keras
from official.modeling.optimization import lr_schedule

from perfnet_tf.config import TrainConfig
from perfnet_tf.errors import InputError

#: A new optimizer, or a function of the configuration and the run's number of steps that makes one.
OptimizerSource: TypeAlias = (
    tf_keras.optimizers.Optimizer | Callable[[TrainConfig, int], tf_keras.optimizers.Optimizer]
)


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Whole batches nearest to one pass: batches run across the ends of passes."""
    return max(1, round(num_clips / batch_size))


def build_schedule(
    config: TrainConfig, num_clips: int, steps_done: int = 0
) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from 0 to the peak rate, then cosine to 0 (PERF-Net Sec. 4).

    Args:
        config: epochs, batch size, peak rate and warm-up.
        num_clips: training clips in an epoch.
        steps_done: by a run that is trained further: the schedule is that of a run of the other
            steps, and begins at 0.
    """
    epoch = steps_per_epoch(num_clips, config.batch_size)
    total = config.epochs * epoch - steps_done
    warmup_epochs = config.resolved_warmup_epochs
    if steps_done and config.warmup_epochs is None:
        warmup_epochs *= total / (config.epochs * epoch)
    warmup = min(round(warmup_epochs * epoch), total - 1)
    # The offset is what lets the warm-up reach the peak: the cosine then starts at its end.
    cosine = lr_schedule.CosineDecayWithOffset(
        offset=warmup,
        initial_learning_rate=config.peak_learning_rate,
        decay_steps=total - warmup,
    )
    if not warmup:
        return cosine
    return lr_schedule.LinearWarmup(cosine, warmup_steps=warmup, warmup_learning_rate=0.0)


def build_optimizer(
    config: TrainConfig, num_clips: int, steps_done: int = 0
) -> tf_keras.optimizers.Optimizer:
    """What `config.optimizer` names, on `build_schedule`.

    Kernel decay is in the loss, as the models' own.
    """
    schedule = build_schedule(config, num_clips, steps_done)
    if config.optimizer == "adam":
        return tf_keras.optimizers.Adam(schedule, beta_1=config.momentum)
    return tf_keras.optimizers.SGD(schedule, momentum=config.momentum)


def make_optimizer(
    source: OptimizerSource | None, config: TrainConfig, num_clips: int, steps_done: int = 0
) -> tf_keras.optimizers.Optimizer:
    """The optimizer of a new run: `build_optimizer`'s, or a custom one.

    Args:
        source: None, an optimizer, or a function that makes one.
        config: of the run.
        num_clips: training clips in an epoch.
        steps_done: by a run that is trained further; the optimizer counts from 0 again.

    Raises:
        InputError: it is no `tf_keras` optimizer, or has made steps.
    """
    if source is None:
        return build_optimizer(config, num_clips, steps_done)
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
