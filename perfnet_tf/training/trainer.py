"""Trains a network on prepared records into a run directory; resumes an interrupted run."""

from __future__ import annotations

import pathlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.config import DistillConfig, ExperimentConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.distill.losses import check_for_several_labels
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import explaining_damaged_records
from perfnet_tf.label_kinds import MULTI_LABEL
from perfnet_tf.models.batch_norm import share_of_initial_averages
from perfnet_tf.models.precision import precision_policy, slow_precision
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.load import Network
from perfnet_tf.recognizers.run_directory import Run, load_run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.reader import check_streams
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.training.checkpoints import Checkpoints, resumable_dropout
from perfnet_tf.training.failure import explaining_full_disk
from perfnet_tf.training.fitting import TRAIN_SPLIT, VALIDATION_SPLIT, TrainingClips, fit
from perfnet_tf.training.optimizers import OptimizerSource, describe_optimizer
from perfnet_tf.training.run_identity import find_earlier_run
from perfnet_tf.training.schedules import steps_per_epoch
from perfnet_tf.training.sources import describe, describe_dataset, read_unlabelled_info
from perfnet_tf.training.start import Start, find_frozen, make_distiller, plan_memory
from perfnet_tf.training.strategy import describe_batch, make_strategy
from perfnet_tf.training.teacher_logits import keep_teacher_logits, remove_teacher_logits
from perfnet_tf.training.workers import Workers

#: Of the initial values in batch norms' moving averages at the end; above it, training warns.
_LARGEST_INITIAL_SHARE = 0.05


def train(
    config: ExperimentConfig,
    data: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    teachers: Mapping[str, Network] | None = None,
    unlabelled: str | pathlib.Path | None = None,
    initial: Network | None = None,
    strategy: tf.distribute.Strategy | None = None,
    optimizer: OptimizerSource | None = None,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    jit_compile: bool = False,
    deterministic: bool = False,
    progress: bool = True,
) -> Run:
    """Trains, distils or fine-tunes a network.

    Call it again with the same arguments to resume an interrupted run; the result is the same. A
    finished run is returned as it is. Ctrl-C and SIGTERM save before they end the run. Seeds
    Python, NumPy and TensorFlow.

    A finished run is trained further by the same arguments with more `epochs`: from its weights,
    with a new optimizer, and on a schedule over the added epochs with its own warm-up. That is not
    what a run of all those epochs computes, whose rates would have been others all along; so
    `run.json` lists the earlier ends under `continued`.

    Args:
        config: everything that decides the run but its data.
        data: a prepared dataset with a split `train`.
        output: folder of the run: new, empty, or of this very run.
        teachers: name -> what `load` takes, whose logits the student matches: a run, a SavedModel,
            a TF Hub handle, a Keras model, a function or a `Recognizer`. One that does not say
            which stream it sees is named by it. `config.distill` says how they are matched.
        unlabelled: a prepared dataset whose clips of its split `train` add to every batch
            (`config.distill.unlabelled_batch`) and learn from the teachers only: its labels are
            ignored. Epochs count the clips of `data`.
        initial: a run of the same network, or an export that can be trained, to start from. Its
            classifier is carried over for the classes that both have by name; a network of another
            stream fits as `training.sources.copy_weights` says. `run.json` says what was
            `carried_over`, and a line on standard error.
        strategy: the devices; None is `make_strategy()`'s choice. With several workers all call
            this with the same arguments, and `output` is a folder that all of them share.
        optimizer: None is SGD on the schedule of `config.train`. Else a new `tf_keras` optimizer,
            with its own learning rate or schedule, or a function
            `(train_config, total_steps) -> optimizer`, which is called inside of the strategy's
            scope; several devices need the function. A resumed run restores the optimizer's state;
            `run.json` has its name, and a run is resumed only under the same.
        callbacks: custom `tf_keras` callbacks. `self.model` is the `Distiller`, and
            `self.model.student` the network. An epoch's `logs` have the values of `history.csv`,
            those of the validation included. They are called on every worker, after each call of
            the graph: under `train.steps_per_execution=n` after every n steps, with the values of
            the last. `self.model.stop_training = True` finishes the run early. Their own state is
            not saved: a resumed run calls `on_train_begin` again, and so does the epoch after the
            one that was interrupted.
        jit_compile: compile the step by XLA. On CPUs that makes 3-D convolutions slower.
        deterministic: use those of TensorFlow's operations only that give the same bits each time:
            two runs of one configuration on one kind of device then end with the same weights. It
            holds for all that this process does from then on, and costs some speed.
        progress: report on standard error.

    Returns:
        The run, finished.

    Raises:
        InputError: data, teachers or initial weights that do not fit; an `output` of another run;
            a damaged record; devices that cannot share a batch evenly; an optimizer that has
            been used.
        FailureError: a loss that is no longer finite, or a full disk.
    """
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    info = read_dataset_info(data)
    teachers = dict(teachers or {})
    distill = (config.distill or DistillConfig()) if teachers else None
    config = config.replace(distill=distill)
    check_streams([config.stream], info)
    _check_labels(config, info)
    if unlabelled is not None:
        if not teachers:
            raise InputError(
                "Clips without labels learn from teachers. Received: `unlabelled` without "
                "`teachers`. Name some, or leave it out."
            )
        others_info = read_unlabelled_info(unlabelled, info, TRAIN_SPLIT)
    num_clips = info.split(TRAIN_SPLIT)["num_clips"]
    record: dict[str, Any] = {
        "dataset": describe_dataset(info, TRAIN_SPLIT),
        "teachers": {name: describe(source) for name, source in teachers.items()},
        "initial": None if initial is None else describe(initial),
        "steps": config.train.epochs * steps_per_epoch(num_clips, config.train.batch_size),
    }
    if unlabelled is not None:
        record["unlabelled"] = describe_dataset(others_info, TRAIN_SPLIT)
    if optimizer is not None:
        record["optimizer"] = describe_optimizer(optimizer)
    precision = config.train.precision
    folder = pathlib.Path(output)
    strategy = strategy or make_strategy()
    workers = Workers(strategy)
    if workers.ask_chief(lambda: _is_finished(folder, config, info, record)):
        if progress and workers.is_chief:
            print(f"{output} is finished: nothing is left to train.", file=sys.stderr, flush=True)
        return load_run(output, precision=precision)
    continued = _earlier_ends(folder)
    first_step = int(workers.gather(continued[-1]["steps"] if continued else 0)[0, 0])
    if first_step and progress and workers.is_chief:
        print(
            f"{folder}: {continued[-1]['epochs']} epochs are done, {config.train.epochs} wanted: "
            "the others have a new optimizer and their own schedule",
            file=sys.stderr,
            flush=True,
        )
    _check_devices(config, strategy)
    if unlabelled is not None:
        size, parts = config.unlabelled_batch, config.train.accumulate
        describe_batch(strategy, size, parts, name="unlabelled_batch")
    if config.train.selects and VALIDATION_SPLIT not in info.splits:
        raise InputError(
            "Weights are chosen by clips that are neither trained on nor tested: the split "
            f"{VALIDATION_SPLIT!r}. Received: {', '.join(info.splits)} in {data}. "
            "perfnet_tf.datasets.groups.write_validation_subset holds out training clips; on the "
            "command line, --validation_fold=0 does."
        )

    on_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
    frozen = find_frozen(config, info.num_classes)
    clips_at_once = config.train.batch_size + (config.unlabelled_batch if unlabelled else 0)
    plan = plan_memory(
        config,
        info.num_classes,
        clips_at_once // (strategy.num_replicas_in_sync * config.train.accumulate),
        for_xla=on_tpu or jit_compile,
    )
    if plan is not None and progress and workers.is_chief:
        print(f"{folder}: {plan}", file=sys.stderr, flush=True)
    blocks = None if plan is None else plan.blocks
    start = Start(teachers, initial, optimizer, first_step, folder, blocks)
    with precision_policy(precision), resumable_dropout(), strategy.scope():
        distiller, carried = make_distiller(config, info, start, frozen, jit_compile=jit_compile)
    if unlabelled is not None:
        check_streams(distiller.seen_streams, others_info)
    if carried is not None:
        record |= {"carried_over": carried.record(), **carried.ancestry()}

    if progress and workers.is_chief and not on_tpu and (note := slow_precision(precision)):
        print(f"note: {note}", file=sys.stderr, flush=True)
    new_averages = initial is None or (carried is not None and not carried.averages_fit)
    if progress and workers.is_chief and new_averages:
        _warn_lagging_averages(distiller.student, record["steps"] * config.train.accumulate)
    if workers.is_chief and not run_directory.is_run(folder):
        run_directory.create_run(folder, config, info.classes, **record)
        if progress and carried is not None:
            print(f"{folder}: {carried}", file=sys.stderr, flush=True)
    workers.wait()
    checkpoints = Checkpoints(folder, distiller, workers, first_step)
    with (
        explaining_damaged_records(data, TRAIN_SPLIT),
        explaining_damaged_records(unlabelled or data, TRAIN_SPLIT),
        explaining_full_disk(folder, lambda: checkpoints.latest),
    ):
        run = (distiller, config, folder, workers, progress)
        clips = _with_teacher_logits(data, "labelled", *run)
        others = None
        if unlabelled is not None:
            others = _with_teacher_logits(unlabelled, "unlabelled", *run)
        kept_epoch = fit(
            distiller,
            config,
            clips,
            folder,
            checkpoints,
            strategy,
            workers,
            unlabelled=others,
            frozen=frozen,
            callbacks=callbacks,
            deterministic=deterministic,
            show_progress=progress,
        )
        chosen = {} if kept_epoch is None else {"kept_epoch": kept_epoch}
        _save_weights(folder, distiller.student, workers, steps=checkpoints.step, **chosen)
    checkpoints.delete()
    if workers.is_chief:
        shutil.rmtree(folder / run_directory.BEST_FOLDER, ignore_errors=True)
        remove_teacher_logits(folder)
    # Not the student itself: its dropout has a state, which no export can hold, and its layers may
    # be frozen.
    return load_run(output, precision=precision)


def _check_labels(config: ExperimentConfig, info: DatasetInfo) -> None:
    """Raises `InputError` of settings for one label per clip, where clips have several."""
    if info.label_kind == MULTI_LABEL and config.distill is not None:
        check_for_several_labels(config.distill)
    for name, usual in (("class_weights", "none"), ("sampling", "every_clip")):
        value = getattr(config.train, name)
        if info.label_kind == MULTI_LABEL and value != usual:
            raise InputError(
                f"Classes are balanced where a clip has one label. Received: `{name}`={value} for "
                f"{info.name}, whose clips have several. Take {usual}."
            )


def _with_teacher_logits(
    data: str | pathlib.Path,
    name: str,
    distiller: Distiller,
    config: ExperimentConfig,
    folder: pathlib.Path,
    workers: Workers,
    progress: bool,
) -> TrainingClips:
    """The clips of `data`, with what the teachers say of them where that is computed first."""
    windows = config.distill.teacher_windows if config.distill else 0
    if not windows:
        return TrainingClips(data)

    def keep() -> TrainingClips:
        logits = keep_teacher_logits(
            distiller.teachers,
            config.clip,
            windows,
            data,
            folder,
            name=name,
            batch_size=config.train.micro_batch_size,
            progress=progress and workers.is_chief,
        )
        return TrainingClips(data, logits)

    # The others read what the chief has written.
    of_chief = keep() if workers.is_chief else None
    workers.wait()
    return of_chief or keep()


def _warn_lagging_averages(student: tf_keras.Model, steps: int) -> None:
    share = share_of_initial_averages(student, steps)
    if share > _LARGEST_INITIAL_SHARE:
        print(
            f"warning: {steps} steps are too few for the network's batch norms: their moving "
            f"averages, which evaluation and prediction use, will still hold {share:.0%} of the "
            "initial values, so accuracies will be far below those in training. Train longer, "
            "start from weights that were trained on this stream, or take a smaller "
            "batch_norm_momentum (presets mini and small have 0.9).",
            file=sys.stderr,
            flush=True,
        )


def _check_devices(config: ExperimentConfig, strategy: tf.distribute.Strategy) -> None:
    batch_size = config.train.batch_size
    describe_batch(strategy, batch_size, config.train.accumulate)
    if config.train.mixup and batch_size == strategy.num_replicas_in_sync:
        raise InputError(
            "A clip is mixed with others of its replica's batch. Received: "
            f"`mixup`={config.train.mixup:g} with one clip for each replica. Take a larger "
            "`batch_size`, or do not mix."
        )
    if config.train.validate_every_epochs and isinstance(strategy, tf.distribute.TPUStrategy):
        raise InputError(
            "A TPU cannot take the smaller last batch of a validation. Received: "
            f"validate_every_epochs={config.train.validate_every_epochs}. Leave it out, and run "
            "perfnet evaluate afterwards."
        )


def _earlier_ends(folder: pathlib.Path) -> list[dict[str, int]]:
    """Epochs and steps at which a run was finished before it was trained further."""
    if not run_directory.is_run(folder):
        return []
    return list(run_directory.read_run(folder)[2].get("continued", ()))


def _save_weights(
    folder: pathlib.Path, student: tf_keras.Model, workers: Workers, **changes: Any
) -> None:
    if workers.is_chief:
        run_directory.save_weights(folder, student, **changes)
    else:
        own = workers.own_folder(folder)
        tf.train.Checkpoint(model=student).write(str(own / run_directory.WEIGHTS_PREFIX))
        shutil.rmtree(own, ignore_errors=True)
    workers.wait()


def _is_finished(
    folder: pathlib.Path, config: ExperimentConfig, info: DatasetInfo, record: Mapping[str, Any]
) -> bool:
    """Whether `folder` holds this very run, finished; its evaluation clips become `config`'s.

    A finished run of fewer epochs becomes one that is to be trained further.

    Raises:
        InputError: it holds another run, or something else.
    """
    compared = {
        key: record.get(key)
        for key in ("dataset", "teachers", "unlabelled", "initial", "optimizer", "classifier")
    }
    earlier = find_earlier_run(folder, config, info.classes, compared)
    if earlier is None:
        return False
    epochs = earlier.config.train.epochs
    if earlier.changed.keys() == {"train.epochs"} and config.train.epochs > epochs:
        ends = _earlier_ends(folder)
        if earlier.is_finished:
            ends.append({"epochs": epochs, "steps": earlier.record["steps"]})
            run_directory.update_record(folder, status=run_directory.TRAINING, continued=ends)
        if ends and ends[-1]["epochs"] == epochs:
            run_directory.update_config(folder, config)
            return False
    earlier.check_unchanged()
    if earlier.config.eval_clip != config.eval_clip:
        run_directory.update_config(folder, earlier.config.replace(eval_clip=config.eval_clip))
    return earlier.is_finished
