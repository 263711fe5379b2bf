"""The Keras callbacks of a run: history, progress, bad steps and checkpoints."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import Any

import tf_keras

from perfnet_tf.config import TrainConfig
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.failure import stop_for_bad_step
from perfnet_tf.training.history import History
from perfnet_tf.training.input_wait import InputWait
from perfnet_tf.training.interruption import Interruption
from perfnet_tf.training.progress import Progress
from perfnet_tf.training.selection import Selection
from perfnet_tf.training.workers import Workers

#: Our choice: what a machine that vanishes may cost, and what saving may cost a short epoch.
LONGEST_SECONDS_UNSAVED = 600.0
SHORTEST_SECONDS_UNSAVED = 30.0


class StopOnBadStep(tf_keras.callbacks.Callback):
    """Ends the run at a step whose loss or gradients are not finite, on any worker."""

    def __init__(
        self,
        config: TrainConfig,
        data: str | pathlib.Path,
        folder: pathlib.Path,
        checkpoints: Checkpoints,
        workers: Workers,
        total: int,
    ) -> None:
        """Watches a run of `total` steps in `folder`, trained on `data`."""
        super().__init__()
        self._config, self._data, self._folder = config, data, folder
        self._checkpoints, self._workers, self._total = checkpoints, workers, total

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Raises `FailureError` after a bad step."""
        own = self.model.first_bad_step()
        number = -1 if own is None else own + self._checkpoints.first_step
        first = self._workers.gather(number)[:, 0]
        if (first < 0).all():
            return
        stop_for_bad_step(
            int(first[first >= 0].min()),
            config=self._config,
            learning_rate=self.model.optimizer.learning_rate,
            total=self._total,
            data=self._data,
            folder=self._folder if self._workers.is_chief else None,
            checkpoint=self._checkpoints.latest,
        )


class ShowProgress(tf_keras.callbacks.Callback):
    """Moves the bar, or prints lines."""

    def __init__(self, progress: Progress, checkpoints: Checkpoints) -> None:
        """Reports to `progress`; `checkpoints` count the steps."""
        super().__init__()
        self._progress, self._checkpoints = progress, checkpoints
        self._step = checkpoints.step

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the steps since the last call."""
        before, self._step = self._step, self._checkpoints.step
        self._progress.advance(self._step - before, float(logs["loss"]))


class KeepHistory(tf_keras.callbacks.Callback):
    """Writes a row for each epoch; measures the validation split where that is due.

    The row's values are added to the epoch's `logs`, for the callbacks that follow.
    """

    def __init__(
        self,
        config: TrainConfig,
        checkpoints: Checkpoints,
        history: History | None,
        progress: Progress,
        wait: InputWait,
        validate: Callable[[], dict[str, float]],
    ) -> None:
        """Writes to `history`, unless it is None, and reports to `progress`."""
        super().__init__()
        self._config, self._checkpoints, self._history = config, checkpoints, history
        self._progress, self._wait, self._validate = progress, wait, validate

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts the clocks."""
        self._began, self._first = time.monotonic(), self._checkpoints.step
        self._wait.restart()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the epoch's row."""
        seconds = time.monotonic() - self._began
        every, step = self._config.validate_every_epochs, self._checkpoints.step
        values = {name: float(value) for name, value in logs.items()}
        values["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        values["clips_per_second"] = (step - self._first) * self._config.batch_size / seconds
        if self._wait.enabled:
            values["input_wait"] = self._wait.seconds / seconds
        if every and ((epoch + 1) % every == 0 or epoch + 1 == self._config.epochs):
            values.update(self._validate())
        if self._history is not None:
            self._history.add(epoch + 1, step, values)
        self._progress.epoch(epoch + 1, self._config.epochs, values)
        hint = self._wait.hint(values.get("input_wait", 0.0))
        if hint:
            self._progress.say(hint)
        logs.update(values)


class KeepCheckpoints(tf_keras.callbacks.Callback):
    """Saves where it is due, and after a signal, which ends the run."""

    def __init__(
        self,
        config: TrainConfig,
        folder: pathlib.Path,
        checkpoints: Checkpoints,
        interruption: Interruption,
        workers: Workers,
        progress: Progress,
        *,
        epoch_steps: int,
        selection: Selection,
        restore_metrics: Callable[[], None],
    ) -> None:
        """Saves the run in `folder`, whose epochs have `epoch_steps` steps.

        Args:
            config: when to save, and the epochs.
            folder: of the run.
            checkpoints: of the run.
            interruption: says whether a signal was received.
            workers: all save at the same step.
            progress: reports that the run was stopped.
            epoch_steps: in an epoch.
            selection: chooses among the epochs.
            restore_metrics: gives the metrics their values of an epoch that was interrupted.
        """
        super().__init__()
        self._config, self._folder, self._checkpoints = config, folder, checkpoints
        self._interruption, self._workers, self._progress = interruption, workers, progress
        self._epoch_steps, self._restore_metrics = epoch_steps, restore_metrics
        self._selection = selection
        self._step = checkpoints.step

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the metrics of an epoch that was interrupted."""
        if self._step % self._epoch_steps:
            self._restore_metrics()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves if it is time."""
        before, self._step = self._step, self._checkpoints.step
        if self._step % self._epoch_steps:  # an epoch's row is written before its checkpoint
            self._save_or_stop(before, LONGEST_SECONDS_UNSAVED)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Saves if it is time, or if the epoch is the best; ends the training early."""
        improved = self._selection.note_epoch(epoch + 1)
        self._save_or_stop(self._step - 1, 0.0 if improved else SHORTEST_SECONDS_UNSAVED)
        if improved:
            self._selection.drop_former()
        if self._selection.is_exhausted():
            self._progress.say(f"{self._folder}: stopped early, at epoch {epoch + 1}")
            self.model.stop_training = True

    def _save_or_stop(self, before: int, seconds: float) -> None:
        """Saves and leaves after a signal; else saves where it is due.

        It is where a multiple of `checkpoint_every_steps` was passed, or `seconds` have.
        """
        every = self._config.checkpoint_every_steps
        passed = every is not None and self._step // every > before // every
        passed = passed or time.monotonic() - self._checkpoints.saved_at >= seconds
        # One worker's signal, and one worker's clock, are for all.
        signalled = self._interruption.received is not None
        votes = self._workers.gather(signalled, passed)  # [workers, 2]
        asked, due = bool(votes[:, 0].any()), bool(votes[:, 1].any())
        if asked or due:
            self._checkpoints.save()
        if asked:
            self._progress.say(
                f"{self._folder}: stopped after step {self._step} of "
                f"{self._config.epochs * self._epoch_steps}. The same command resumes from here."
            )
            self._interruption.leave()
