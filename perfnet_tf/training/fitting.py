"""`Distiller.fit` on a prepared dataset: epochs, history and checkpoints of one training."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
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
from perfnet_tf.training.schedules import steps_per_epoch

TRAIN_SPLIT = "train"
#: Our choice: what a machine that vanishes may cost, and what saving may cost a short epoch.
LONGEST_SECONDS_UNSAVED = 600.0
SHORTEST_SECONDS_UNSAVED = 30.0


def fit(
    distiller: Distiller,
    config: ExperimentConfig,
    data: str | pathlib.Path,
    folder: pathlib.Path,
    checkpoints: Checkpoints,
    strategy: tf.distribute.Strategy,
    *,
    show_progress: bool,
) -> None:
    """Trains from the last checkpoint to the end.

    Args:
        distiller: compiled, its optimizer built, of this `strategy`.
        config: epochs, batch, clips.
        data: a prepared dataset.
        folder: of the run.
        checkpoints: of the run.
        strategy: the devices.
        show_progress: report on standard error.

    Raises:
        InputError: an unreadable checkpoint, or a loss that is no longer finite.
        KeyboardInterrupt, SystemExit: after a signal, and after saving.
    """
    train = config.train
    num_clips = read_dataset_info(data).split(TRAIN_SPLIT)["num_clips"]
    epoch_steps = steps_per_epoch(num_clips, train.batch_size)
    restore_metrics = checkpoints.restore()
    step = checkpoints.step
    progress = Progress(
        total=train.epochs * epoch_steps, done=step, batch_size=train.batch_size, show=show_progress
    )
    if step:
        progress.say(f"{folder}: going on after step {step} of {train.epochs * epoch_steps}")
    with Interruption() as interruption, progress:
        keeper = RunKeeper(
            config,
            checkpoints,
            History(folder, epochs_done=step // epoch_steps),
            progress,
            interruption,
            folder=folder,
            epoch_steps=epoch_steps,
            restore_metrics=restore_metrics,
            validate=_validation(config, data, distiller.student),
        )
        while step < train.epochs * epoch_steps:
            epoch, done = divmod(step, epoch_steps)
            # An epoch that was broken off is ended by itself, being shorter.
            last = epoch + 1 if done else train.epochs
            distiller.fit(
                _training_data(distiller, config, data, strategy, step),
                initial_epoch=epoch,
                epochs=last,
                steps_per_epoch=epoch_steps - done,
                callbacks=[keeper],
                verbose=0,
            )
            step = last * epoch_steps


class RunKeeper(tf_keras.callbacks.Callback):
    """Keeps what a run needs to be watched and to go on: history, progress, checkpoints."""

    def __init__(
        self,
        config: ExperimentConfig,
        checkpoints: Checkpoints,
        history: History,
        progress: Progress,
        interruption: Interruption,
        *,
        folder: pathlib.Path,
        epoch_steps: int,
        restore_metrics: Callable[[], None],
        validate: Callable[[], dict[str, float]],
    ) -> None:
        super().__init__()
        self._train = config.train
        self._checkpoints, self._history = checkpoints, history
        self._progress, self._interruption = progress, interruption
        self._folder, self._epoch_steps = folder, epoch_steps
        self._restore_metrics = restore_metrics
        self._validate = validate
        self._step = checkpoints.step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Goes on with the metrics of an epoch that was broken off."""
        if self._step % self._epoch_steps:
            self._restore_metrics()
        self._began, self._first = time.monotonic(), self._step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Checks the loss, and saves if it is time."""
        before, self._step = self._step, self._checkpoints.step
        self._check_finite(logs["loss"])
        self._progress.advance(self._step - before, float(logs["loss"]))
        if self._step % self._epoch_steps == 0:  # first the epoch's row, then the checkpoint
            return
        self._stop_if_asked()
        self._save_if_due(before, LONGEST_SECONDS_UNSAVED)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the epoch's row, and saves if it is time."""
        seconds = time.monotonic() - self._began
        every = self._train.validate_every_epochs
        values = {name: float(value) for name, value in logs.items()}
        values["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        clips = (self._step - self._first) * self._train.batch_size
        values["clips_per_second"] = clips / seconds
        if every and ((epoch + 1) % every == 0 or epoch + 1 == self._train.epochs):
            values.update(self._validate())
        self._history.add(epoch + 1, self._step, values)
        self._progress.epoch(epoch + 1, self._train.epochs, values)
        self._stop_if_asked()
        self._save_if_due(self._step - 1, SHORTEST_SECONDS_UNSAVED)

    @property
    def _total(self) -> int:
        return self._train.epochs * self._epoch_steps

    def _check_finite(self, loss: float) -> None:
        if np.isfinite(loss):
            return
        rate = float(self.model.optimizer.learning_rate.numpy())
        raise InputError(
            f"The loss became {loss} at step {self._step} of {self._total}, at a learning rate of "
            f"about {rate:.3g}. Lower --learning_rate, lengthen the warm-up, or train in float32 "
            "if this was bfloat16. Checkpoints of before are in "
            f"{self._folder / CHECKPOINTS_FOLDER}."
        )

    def _stop_if_asked(self) -> None:
        if not self._interruption.received:
            return
        self._checkpoints.save()
        self._progress.say(
            f"{self._folder}: stopped after step {self._step} of {self._total}. "
            "The same command goes on from here."
        )
        self._interruption.leave()

    def _save_if_due(self, before: int, seconds: float) -> None:
        """Saves where a multiple of `checkpoint_every_steps` was passed, or `seconds` have."""
        every = self._train.checkpoint_every_steps
        passed = every is not None and self._step // every > before // every
        if passed or time.monotonic() - self._checkpoints.saved_at >= seconds:
            self._checkpoints.save()


def _training_data(
    distiller: Distiller,
    config: ExperimentConfig,
    data: str | pathlib.Path,
    strategy: tf.distribute.Strategy,
    start_step: int,
) -> Any:
    def build(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        return build_dataset(
            data,
            TRAIN_SPLIT,
            clip=config.clip,
            streams=distiller.streams,
            batch_size=config.train.batch_size,
            training=True,
            seed=config.train.seed,
            start_step=start_step,
            mirror=config.train.mirror,
            input_context=context,
        )

    if strategy.num_replicas_in_sync == 1:
        return build()
    return strategy.distribute_datasets_from_function(build)


def _validation(
    config: ExperimentConfig, data: str | pathlib.Path, student: tf_keras.Model
) -> Callable[[], dict[str, float]]:
    """A function that measures the student on `val`, or on `test` if there is none.

    It returns `val_cross_entropy`, `val_top1` and `val_top5` over the evaluation clips.
    """
    if not config.train.validate_every_epochs:
        return dict
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
    validator.compile()

    def measure() -> dict[str, float]:
        with damaged_shard_named(data, split):
            values: Mapping[str, float] = validator.evaluate(dataset, verbose=0, return_dict=True)
        return {f"val_{name}": values[name] for name in ("cross_entropy", "top1", "top5")}

    return measure
