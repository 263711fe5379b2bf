"""The learning rate over the steps of a run."""

from __future__ import annotations

import tf_keras
from official.modeling.optimization import lr_schedule

from perfnet_tf.config import TrainConfig


def steps_per_epoch(num_clips: int, batch_size: int) -> int:
    """Whole batches nearest to one pass: batches run across the ends of passes."""
    return max(1, round(num_clips / batch_size))


def build_schedule(
    config: TrainConfig, num_clips: int
) -> tf_keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from 0 to the peak rate, then cosine to 0 (PERF-Net Sec. 4).

    Args:
        config: epochs, batch size, peak rate and warm-up.
        num_clips: training clips in an epoch.
    """
    epoch = steps_per_epoch(num_clips, config.batch_size)
    total = config.epochs * epoch
    warmup = min(round(config.resolved_warmup_epochs * epoch), total - 1)
    # The offset is what lets the warm-up reach the peak: the cosine then starts at its end.
    cosine = lr_schedule.CosineDecayWithOffset(
        offset=warmup,
        initial_learning_rate=config.peak_learning_rate,
        decay_steps=total - warmup,
    )
    if not warmup:
        return cosine
    return lr_schedule.LinearWarmup(cosine, warmup_steps=warmup, warmup_learning_rate=0.0)


def build_optimizer(config: TrainConfig, num_clips: int) -> tf_keras.optimizers.Optimizer:
    """SGD with momentum on `build_schedule`. Kernel decay is in the loss, as the models' own."""
    return tf_keras.optimizers.SGD(build_schedule(config, num_clips), momentum=config.momentum)
