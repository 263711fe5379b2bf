"""Steps, epochs and checkpoints of one training."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.pipeline import build_dataset, damaged_shard_named
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import read_dataset_info
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.history import History
from perfnet_tf.training.interruption import Interruption
from perfnet_tf.training.progress import Progress
from perfnet_tf.training.run_directory import CHECKPOINTS_FOLDER
from perfnet_tf.training.schedules import num_steps

TRAIN_SPLIT = "train"
#: Our choice: what a machine that vanishes may cost, and what saving may cost a short epoch.
LONGEST_SECONDS_UNSAVED = 600.0
SHORTEST_SECONDS_UNSAVED = 30.0


class TrainLoop:
    """Steps, epochs and checkpoints of one training."""

    def __init__(
        self,
        config: ExperimentConfig,
        data: str | pathlib.Path,
        folder: pathlib.Path,
        distiller: Distiller,
        strategy: tf.distribute.Strategy,
        *,
        jit_compile: bool,
    ) -> None:
        self.config, self.data, self.folder = config, data, folder
        self.distiller, self.strategy = distiller, strategy
        train = config.train
        num_clips = read_dataset_info(data).split(TRAIN_SPLIT)["num_clips"]
        #: Steps done at the end of each epoch; batches run across their ends.
        self.ends = [num_steps(num_clips, train.batch_size, e + 1) for e in range(train.epochs)]
        self.checkpoints = Checkpoints(folder, distiller)
        self._run_steps = _steps_function(distiller, strategy, jit_compile=jit_compile)
        if train.validate_every_epochs:
            self._validate = _validation(config, data, distiller.student)

    def run(self, *, show_progress: bool) -> None:
        """Trains from the last checkpoint to the end.

        Raises:
            InputError: an unreadable checkpoint, or a loss that is no longer finite.
            KeyboardInterrupt, SystemExit: after a signal, and after saving.
        """
        train = self.config.train
        step = self.checkpoints.restore()
        history = History(self.folder, epochs_done=sum(end <= step for end in self.ends))
        progress = Progress(
            total=self.ends[-1], done=step, batch_size=train.batch_size, show=show_progress
        )
        if step:
            progress.say(f"{self.folder}: going on after step {step} of {self.ends[-1]}")
        iterator = iter(self._dataset(step))
        try:
            with Interruption() as interruption:
                for epoch, end in enumerate(self.ends):
                    if end <= step:  # done before, or the epoch is shorter than a batch
                        continue
                    began, first = time.monotonic(), step
                    while step < end:
                        step = self._advance(iterator, step, end, progress)
                        if step == end:  # first the epoch's row, then the checkpoint
                            break
                        if interruption.received:
                            self._stop(interruption, progress, step)
                        if self._is_time_to_save(step, LONGEST_SECONDS_UNSAVED):
                            self.checkpoints.save()
                    seconds = time.monotonic() - began
                    values = self._epoch_values(epoch, (step - first) * train.batch_size, seconds)
                    history.add(epoch + 1, step, values)
                    progress.epoch(epoch + 1, train.epochs, values)
                    if interruption.received:
                        self._stop(interruption, progress, step)
                    if self._is_time_to_save(step, SHORTEST_SECONDS_UNSAVED):
                        self.checkpoints.save()
        finally:
            progress.close()

    def _advance(self, iterator: Any, step: int, end: int, progress: Progress) -> int:
        """Runs up to `steps_per_execution` steps; returns the number of steps done."""
        train = self.config.train
        count = min(train.steps_per_execution, end - step)
        if train.checkpoint_every_steps:
            count = min(count, train.checkpoint_every_steps - step % train.checkpoint_every_steps)
        losses = self._run_steps(iterator, tf.constant(count)).numpy()
        if not np.isfinite(losses).all():
            bad = int(np.argmin(np.isfinite(losses)))
            rate = float(self.distiller.optimizer.learning_rate.numpy())
            raise InputError(
                f"The loss became {losses[bad]} at step {step + bad + 1} of {self.ends[-1]}, "
                f"at a learning rate of about {rate:.3g}. Lower --learning_rate, lengthen the "
                f"warm-up, or train in float32 if this was bfloat16. Checkpoints of before are in "
                f"{self.folder / CHECKPOINTS_FOLDER}."
            )
        progress.advance(count, float(losses[-1]))
        return step + count

    def _stop(self, interruption: Interruption, progress: Progress, step: int) -> None:
        self.checkpoints.save()
        progress.say(
            f"{self.folder}: stopped after step {step} of {self.ends[-1]}. "
            "The same command goes on from here."
        )
        interruption.leave()

    def _is_time_to_save(self, step: int, seconds: float) -> bool:
        every = self.config.train.checkpoint_every_steps
        if every and step % every == 0:
            return True
        return time.monotonic() - self.checkpoints.saved_at >= seconds

    def _epoch_values(self, epoch: int, clips: int, seconds: float) -> dict[str, float]:
        """The epoch's row, whose metrics are then reset."""
        values = {metric.name: float(metric.result()) for metric in self.distiller.metrics}
        self.distiller.reset_metrics()
        values["learning_rate"] = float(self.distiller.optimizer.learning_rate.numpy())
        values["clips_per_second"] = clips / seconds
        every = self.config.train.validate_every_epochs
        if every and ((epoch + 1) % every == 0 or epoch + 1 == self.config.train.epochs):
            values.update(self._validate())
        return values

    def _dataset(self, start_step: int) -> Any:
        def build(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
            return build_dataset(
                self.data,
                TRAIN_SPLIT,
                clip=self.config.clip,
                streams=self.distiller.streams,
                batch_size=self.config.train.batch_size,
                training=True,
                seed=self.config.train.seed,
                start_step=start_step,
                mirror=self.config.train.mirror,
                input_context=context,
            )

        if self.strategy.num_replicas_in_sync == 1:
            return build()
        return self.strategy.distribute_datasets_from_function(build)


def _steps_function(
    distiller: Distiller, strategy: tf.distribute.Strategy, *, jit_compile: bool
) -> Callable[[Any, tf.Tensor], tf.Tensor]:
    """A graph function of an iterator and a number of steps: runs them, returns their losses."""
    step = tf.function(distiller.update, jit_compile=True) if jit_compile else distiller.update

    @tf.function
    def run_steps(iterator: Any, count: tf.Tensor) -> tf.Tensor:
        losses = tf.TensorArray(tf.float32, size=count)
        for i in tf.range(count):
            shares = strategy.run(step, args=(next(iterator),))
            losses = losses.write(i, strategy.reduce("SUM", shares, axis=None))
        return losses.stack()

    return run_steps


def _validation(
    config: ExperimentConfig, data: str | pathlib.Path, student: tf_keras.Model
) -> Callable[[], dict[str, float]]:
    """A function that measures the student on `val`, or on `test` if there is none.

    It returns `val_cross_entropy`, `val_top1` and `val_top5` over the evaluation clips.
    """
    split = "val" if "val" in read_dataset_info(data).splits else "test"
    dataset = build_dataset(
        data,
        split,
        clip=config.resolved_eval_clip,
        streams=[config.stream],
        batch_size=config.train.batch_size,
        training=False,
    )
    validator = Distiller(student, render=config.pose_render)

    @tf.function
    def validate() -> None:
        for batch in dataset:
            validator.test_step(batch)

    def measure() -> dict[str, float]:
        validator.reset_metrics()
        with damaged_shard_named(data, split):
            validate()
        values = {metric.name: float(metric.result()) for metric in validator.metrics}
        return {f"val_{name}": values[name] for name in ("cross_entropy", "top1", "top5")}

    return measure
