"""`Distiller.fit` on a prepared dataset: epochs, history and checkpoints of one training."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.input_pipeline.dataset import build_dataset, explaining_damaged_records
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.failure import stop_for_bad_step
from perfnet_tf.training.history import History
from perfnet_tf.training.input_wait import InputWait
from perfnet_tf.training.interruption import Interruption
from perfnet_tf.training.progress import Progress
from perfnet_tf.training.schedules import steps_per_epoch
from perfnet_tf.training.strategy import describe_batch
from perfnet_tf.training.workers import Workers

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
    workers: Workers,
    *,
    deterministic: bool = False,
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
        workers: of the strategy; the chief writes the run's files.
        deterministic: TensorFlow's operations are, and nothing may look at the clock.
        show_progress: report on standard error.

    Raises:
        InputError: an unreadable checkpoint, a loss that is no longer finite, or a batch that the
            devices cannot share evenly.
        KeyboardInterrupt, SystemExit: after a signal, and after saving.
    """
    train = config.train
    num_clips = read_dataset_info(data).split(TRAIN_SPLIT)["num_clips"]
    epoch_steps = steps_per_epoch(num_clips, train.batch_size)
    restore_metrics = checkpoints.restore()
    step = checkpoints.step
    progress = Progress(
        total=train.epochs * epoch_steps,
        done=step,
        batch_size=train.batch_size,
        show=show_progress and workers.is_chief,
    )
    progress.say(f"{folder}: {describe_batch(strategy, train.batch_size)}")
    wait = InputWait(enabled=not deterministic)
    if step:
        progress.say(f"{folder}: going on after step {step} of {train.epochs * epoch_steps}")
    with Interruption() as interruption, progress:
        keeper = RunKeeper(
            config,
            checkpoints,
            History(folder, epochs_done=step // epoch_steps) if workers.is_chief else None,
            progress,
            interruption,
            workers,
            wait,
            data=data,
            folder=folder,
            epoch_steps=epoch_steps,
            restore_metrics=restore_metrics,
            validate=_validation(config, data, distiller.student, workers),
        )
        while step < train.epochs * epoch_steps:
            epoch, done = divmod(step, epoch_steps)
            # An epoch that was broken off is ended by itself, being shorter.
            last = epoch + 1 if done else train.epochs
            distiller.fit(
                _training_data(distiller, config, data, strategy, step, wait),
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
        history: History | None,
        progress: Progress,
        interruption: Interruption,
        workers: Workers,
        wait: InputWait,
        *,
        data: str | pathlib.Path,
        folder: pathlib.Path,
        epoch_steps: int,
        restore_metrics: Callable[[], None],
        validate: Callable[[], dict[str, float]],
    ) -> None:
        super().__init__()
        self._train, self._data = config.train, data
        self._workers, self._wait = workers, wait
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
        self._wait.restart()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Checks the loss, and saves if it is time."""
        before, self._step = self._step, self._checkpoints.step
        self._check_finite()
        self._progress.advance(self._step - before, float(logs["loss"]))
        if self._step % self._epoch_steps == 0:  # first the epoch's row, then the checkpoint
            return
        self._save_or_stop(before, LONGEST_SECONDS_UNSAVED)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Writes the epoch's row, and saves if it is time."""
        seconds = time.monotonic() - self._began
        every = self._train.validate_every_epochs
        values = {name: float(value) for name, value in logs.items()}
        values["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
        clips = (self._step - self._first) * self._train.batch_size
        values["clips_per_second"] = clips / seconds
        if self._wait.enabled:
            values["input_wait"] = self._wait.seconds / seconds
        if every and ((epoch + 1) % every == 0 or epoch + 1 == self._train.epochs):
            values.update(self._validate())
        if self._history is not None:
            self._history.add(epoch + 1, self._step, values)
        self._progress.epoch(epoch + 1, self._train.epochs, values)
        hint = self._wait.hint(values.get("input_wait", 0.0))
        if hint:
            self._progress.say(hint)
        self._save_or_stop(self._step - 1, SHORTEST_SECONDS_UNSAVED)

    @property
    def _total(self) -> int:
        return self._train.epochs * self._epoch_steps

    def _check_finite(self) -> None:
        own = self.model.first_bad_step()
        first = self._workers.gather(-1 if own is None else own)[:, 0]
        if (first < 0).all():
            return
        stop_for_bad_step(
            int(first[first >= 0].min()),
            config=self._train,
            learning_rate=self.model.optimizer.learning_rate,
            total=self._total,
            data=self._data,
            folder=self._folder if self._workers.is_chief else None,
            checkpoint=self._checkpoints.latest,
        )

    def _save_or_stop(self, before: int, seconds: float) -> None:
        """Saves and leaves after a signal; else saves where it is due.

        It is where a multiple of `checkpoint_every_steps` was passed, or `seconds` have.
        """
        every = self._train.checkpoint_every_steps
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
                f"{self._folder}: stopped after step {self._step} of {self._total}. "
                "The same command goes on from here."
            )
            self._interruption.leave()


def _training_data(
    distiller: Distiller,
    config: ExperimentConfig,
    data: str | pathlib.Path,
    strategy: tf.distribute.Strategy,
    start_step: int,
    wait: InputWait,
) -> Any:
    def build(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        dataset = build_dataset(
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
        # A TPU's batches are read on its own host, where this process cannot look.
        return dataset if isinstance(strategy, tf.distribute.TPUStrategy) else wait.watch(dataset)

    if strategy.num_replicas_in_sync == 1:
        return build()
    return strategy.distribute_datasets_from_function(build)


def _validation(
    config: ExperimentConfig, data: str | pathlib.Path, student: tf_keras.Model, workers: Workers
) -> Callable[[], dict[str, float]]:
    """A function that measures the student on `val`, or on `test` if there is none.

    It returns `val_cross_entropy`, `val_top1` and `val_top5` over the evaluation clips; on other
    workers than the chief, which measures alone, nothing.
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
    measured = student
    if workers.count > 1:
        # Moving moments are averaged over workers when they are read: all read, one computes.
        with precision_policy(config.train.precision):
            measured = type(student).from_config(student.get_config()).build_for_stream()
    validator = Distiller(measured, render=config.pose_render)
    validator.compile()

    def measure() -> dict[str, float]:
        if measured is not student:
            measured.set_weights(student.get_weights())
        if not workers.is_chief:
            return {}
        with explaining_damaged_records(data, split):
            values: Mapping[str, float] = validator.evaluate(dataset, verbose=0, return_dict=True)
        return {f"val_{name}": values[name] for name in ("cross_entropy", "top1", "top5")}

    return measure
