"""`Distiller.fit` on a prepared dataset: epochs, history and checkpoints of one training."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.distill.distiller import TEACHER_LOGITS, Distiller
from perfnet_tf.input_pipeline.dataset import build_dataset, explaining_damaged_records
from perfnet_tf.input_pipeline.unlabelled import add_unlabelled
from perfnet_tf.models.freezing import freeze_layers
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.recognizers import run_directory
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.training.callbacks import (
    KeepCheckpoints,
    KeepHistory,
    ShowProgress,
    StopOnBadStep,
)
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.history import History
from perfnet_tf.training.input_wait import InputWait
from perfnet_tf.training.interruption import Interruption
from perfnet_tf.training.progress import Progress
from perfnet_tf.training.schedules import steps_per_epoch
from perfnet_tf.training.selection import Selection
from perfnet_tf.training.strategy import describe_batch
from perfnet_tf.training.workers import Workers

T = TypeVar("T")

TRAIN_SPLIT, VALIDATION_SPLIT = "train", "val"
#: Added to a run's seed for the order and the views of clips without labels.
_UNLABELLED_SEED = 2**30


@dataclass(frozen=True, eq=False)
class TrainingClips:
    """Clips that a run trains on.

    Attributes:
        folder: prepared dataset.
        teacher_logits: teacher -> float32 `[clips, classes]` in the order of the index, where they
            are computed before the run; else empty.
    """

    folder: str | pathlib.Path
    teacher_logits: Mapping[str, np.ndarray] = field(default_factory=dict)


def fit(
    distiller: Distiller,
    config: ExperimentConfig,
    clips: TrainingClips,
    folder: pathlib.Path,
    checkpoints: Checkpoints,
    strategy: tf.distribute.Strategy,
    workers: Workers,
    *,
    unlabelled: TrainingClips | None = None,
    frozen: Sequence[int] = (),
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    deterministic: bool = False,
    show_progress: bool,
) -> int | None:
    """Trains from the last checkpoint to the end.

    Args:
        distiller: compiled, its optimizer built, of this `strategy`.
        config: epochs, batch, clips.
        clips: those with labels.
        folder: of the run.
        checkpoints: of the run.
        strategy: the devices.
        workers: of the strategy; the chief writes the run's files.
        unlabelled: clips that add to the batches without their labels.
        frozen: layers of the student that are, see `freezing.freeze_layers`.
        callbacks: called after those that stop on a bad step, report progress and write the
            history, and before the one that saves.
        deterministic: TensorFlow's operations are, and nothing may look at the clock.
        show_progress: report on standard error.

    Returns:
        The epoch whose weights the student has if the best are kept; else None.

    Raises:
        InputError: an unreadable checkpoint, or a batch that the devices cannot share evenly.
        FailureError: a loss that is no longer finite.
        KeyboardInterrupt, SystemExit: after a signal, and after saving.
    """
    train, data = config.train, clips.folder
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
    progress.say(f"{folder}: {describe_batch(strategy, train.batch_size, train.accumulate)}")
    wait = InputWait(enabled=not deterministic)
    if step:
        progress.say(f"{folder}: resuming after step {step} of {train.epochs * epoch_steps}")
    with Interruption() as interruption, progress:
        total = train.epochs * epoch_steps
        history = History(folder, epochs_done=step // epoch_steps) if workers.is_chief else None
        first_epoch = checkpoints.first_step // epoch_steps
        selection = Selection(train, folder, distiller.student, history, workers, first_epoch)
        if checkpoints.first_step and checkpoints.latest is None:
            kept = run_directory.read_run(folder)[2].get("kept_epoch")
            if kept is not None:
                selection.keep_weights(kept)
            checkpoints.save()  # from now on the run's weights may be replaced
        validate = _validation(config, data, distiller.student, workers, frozen)
        run_callbacks = [
            StopOnBadStep(train, data, folder, checkpoints, workers, total),
            ShowProgress(progress, checkpoints),
            KeepHistory(train, checkpoints, history, progress, wait, validate),
            *callbacks,
            # Last: what the others do after a step belongs to the step that is saved.
            KeepCheckpoints(
                train,
                folder,
                checkpoints,
                interruption,
                workers,
                progress,
                epoch_steps=epoch_steps,
                selection=selection,
                restore_metrics=restore_metrics,
            ),
        ]
        while step < total and not selection.is_exhausted():
            epoch, done = divmod(step, epoch_steps)
            # An epoch that was broken off is ended by itself, being shorter.
            last = epoch + 1 if done else train.epochs
            distiller.fit(
                _training_data(distiller, config, (clips, unlabelled), strategy, step, wait),
                initial_epoch=epoch,
                epochs=last,
                steps_per_epoch=epoch_steps - done,
                callbacks=run_callbacks,
                verbose=0,
            )
            if distiller.stop_training:  # a callback's wish
                break
            step = last * epoch_steps
        return selection.take_best()


def _training_data(
    distiller: Distiller,
    config: ExperimentConfig,
    sources: tuple[TrainingClips, TrainingClips | None],
    strategy: tf.distribute.Strategy,
    start_step: int,
    wait: InputWait,
) -> Any:
    """Batches of the first source's clips, with clips of the second, if any, without labels."""
    train = config.train
    labelled, unlabelled = sources

    def build(context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
        def batches(clips: TrainingClips, size: int, seed: int, order: str) -> Any:
            return build_dataset(
                clips.folder,
                TRAIN_SPLIT,
                clip=config.clip,
                streams=distiller.streams,
                batch_size=size,
                training=True,
                seed=seed,
                start_step=start_step,
                mirror=train.mirror,
                sampling=order,
                constants={TEACHER_LOGITS + k: v for k, v in clips.teacher_logits.items()},
                input_context=context,
            )

        dataset = batches(labelled, train.batch_size, train.seed, train.sampling)
        if unlabelled is not None:
            size = config.unlabelled_batch
            others = batches(unlabelled, size, train.seed + _UNLABELLED_SEED, "every_clip")
            dataset = add_unlabelled(dataset, others)
        # A TPU's batches are read on its own host, where this process cannot look.
        return dataset if isinstance(strategy, tf.distribute.TPUStrategy) else wait.watch(dataset)

    if strategy.num_replicas_in_sync == 1:
        return build()
    return strategy.distribute_datasets_from_function(build)


def _validation(
    config: ExperimentConfig,
    data: str | pathlib.Path,
    student: tf_keras.Model,
    workers: Workers,
    frozen: Sequence[int],
) -> Callable[[], dict[str, float]]:
    """A function that measures the student on `val`, or on `test` if there is none.

    It returns `val_cross_entropy`, `val_top1` and `val_top5` over the evaluation clips; on other
    workers than the chief, which measures alone, nothing.
    """
    if not config.train.validate_every_epochs:
        return dict
    split = VALIDATION_SPLIT if VALIDATION_SPLIT in read_dataset_info(data).splits else "test"
    dataset = build_dataset(
        data,
        split,
        clip=config.resolved_eval_clip,
        streams=[config.stream],
        batch_size=config.train.micro_batch_size,
        training=False,
    )
    measured = student
    if workers.count > 1:
        # Moving moments are averaged over workers when they are read: all read, one computes.
        with precision_policy(config.train.precision):
            measured = type(student).from_config(student.get_config()).build_for_stream()
        freeze_layers(measured, frozen)  # which decides the order of weights
    validator = Distiller(measured, render=config.pose_render)
    validator.compile()

    def evaluate() -> Mapping[str, float]:
        values: Mapping[str, float] = validator.evaluate(dataset, verbose=0, return_dict=True)
        return values

    def measure() -> dict[str, float]:
        if measured is not student:
            measured.set_weights(student.get_weights())
        if not workers.is_chief:
            return {}
        with explaining_damaged_records(data, split):
            values = evaluate() if workers.count == 1 else _without_strategy(evaluate)
        return {f"val_{name}": values[name] for name in ("cross_entropy", "top1", "top5")}

    return measure


def _without_strategy(function: Callable[[], T]) -> T:
    """What `function` returns where no strategy's scope is entered.

    `fit` calls back inside of its strategy's scope. There one worker would wait for the others at
    every metric. Scopes are entered by thread.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(function).result()
