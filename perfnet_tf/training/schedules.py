"""The learning rate of a run over its steps."""

from __future__ import annotations

import tf_keras

from perfnet_tf.config import TrainConfig
from perfnet_tf.training.model_garden import CosineDecayWithOffset, LinearWarmup


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
    cosine = CosineDecayWithOffset(
        offset=warmup,
        initial_learning_rate=config.peak_learning_rate,
        decay_steps=total - warmup,
    )
    if not warmup:
        return cosine
    return LinearWarmup(cosine, warmup_steps=warmup, warmup_learning_rate=0.0)
