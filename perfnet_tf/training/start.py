"""What a run begins with: its network, the weights that it starts from, and its optimizer."""

from __future__ import annotations

import pathlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import tensorflow as tf
import tf_keras

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.models.activation_memory import ActivationPlan, plan_activations
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.freezing import find_frozen_layers, freeze_layers
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.load import Network, load, load_teacher
from perfnet_tf.records.reader import check_streams
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.training.class_weights import balanced_weights
from perfnet_tf.training.fitting import TRAIN_SPLIT
from perfnet_tf.training.head_rate import scale_learning_rate
from perfnet_tf.training.optimizers import OptimizerSource, decays_kernels, make_optimizer
from perfnet_tf.training.sources import CarriedOver, copy_weights


@dataclass(frozen=True)
class Start:
    """What a run is made of besides its configuration; see `trainer.train`.

    Attributes:
        teachers: name -> network whose logits the student matches.
        initial: network whose weights are the first, if any.
        optimizer: None for the configuration's.
        finished_steps: of a run that is trained further; 0 for a new one.
        folder: of the run; it holds the weights of `finished_steps`.
        computed_again: the student's blocks whose activations are; None goes by the configuration.
    """

    teachers: Mapping[str, Network] = field(default_factory=dict)
    initial: Network | None = None
    optimizer: OptimizerSource | None = None
    finished_steps: int = 0
    folder: pathlib.Path = pathlib.Path()
    computed_again: Collection[str] | None = None


def find_frozen(config: ExperimentConfig, num_classes: int) -> tuple[int, ...]:
    """The layers that `config.train.freeze` names, as `freezing.freeze_layers` takes them."""
    if not config.train.freeze:
        return ()
    probe = build_from_config(config.model, num_classes, config.stream)
    return find_frozen_layers(probe, config.train.freeze)


def plan_memory(
    config: ExperimentConfig, num_classes: int, clips: int, *, for_xla: bool
) -> ActivationPlan | None:
    """What `config.train.activation_gib` has computed again for so many clips on a device.

    None without it. Raises `InputError` if that cannot be kept.
    """
    budget = config.train.activation_gib
    if budget is None:
        return None
    with precision_policy(config.train.precision):
        probe = build_from_config(config.model, num_classes, config.stream)
    clip = config.clip
    shape = (clip.num_frames, clip.height, clip.width)
    return plan_activations(probe, shape, clips, budget, for_xla=for_xla)


def make_distiller(
    config: ExperimentConfig,
    info: DatasetInfo,
    start: Start,
    frozen: tuple[int, ...],
    *,
    jit_compile: bool = False,
) -> tuple[Distiller, CarriedOver | None]:
    """The student, its teachers and its optimizer, compiled, with the weights of the first step.

    Call it in the scope of the run's strategy and under its precision. Seeds Python, NumPy and
    TensorFlow.

    Args:
        config: of the run.
        info: of the dataset.
        start: what else the run is made of.
        frozen: of `find_frozen`.
        jit_compile: compile the step by XLA.

    Returns:
        The distiller, and what was carried over from `start.initial`.

    Raises:
        InputError: teachers, weights or an optimizer that do not fit.
    """
    tf_keras.utils.set_random_seed(config.train.seed)
    student = build_from_config(config.model, info.num_classes, config.stream)
    precision = config.train.precision
    distiller = Distiller(
        student,
        {name: load_teacher(name, s, precision=precision) for name, s in start.teachers.items()},
        config.distill or "separate",
        classes=info.classes,
        render=config.pose_render,
        rematerialize=(
            config.train.rematerialize if start.computed_again is None else start.computed_again
        ),
        synchronize_batch_norm=config.train.synchronize_batch_norm,
        class_weights=_class_weights(config, info),
        logits_in_batch=bool(config.distill and config.distill.teacher_windows),
        accumulate=config.train.accumulate,
        label_smoothing=config.train.label_smoothing,
        mixup=config.train.mixup,
        seed=config.train.seed,
        decay_in_loss=start.optimizer is not None or not decays_kernels(config.train),
    )
    check_streams(distiller.seen_streams, info)
    carried = None
    if start.finished_steps:
        _restore_weights(start.folder, student)
    elif start.initial is not None:
        carried = copy_weights(load(start.initial, trainable=True).run(), student, info.classes)
    freeze_layers(student, frozen)
    num_clips = info.split(TRAIN_SPLIT)["num_clips"]
    optimizer = make_optimizer(
        start.optimizer,
        config.train,
        num_clips,
        start.finished_steps,
        model=student,
        weight_decay=config.model.weight_decay,
    )
    if config.train.head_learning_rate_scale != 1:
        head = student.classifier.variables
        scale_learning_rate(optimizer, head, config.train.head_learning_rate_scale)
    distiller.compile(
        optimizer,
        steps_per_execution=config.train.steps_per_execution,
        jit_compile=jit_compile,
    )
    distiller.optimizer.build(student.trainable_variables)
    return distiller, carried


def _restore_weights(folder: pathlib.Path, student: tf_keras.Model) -> None:
    checkpoint = tf.train.Checkpoint(model=student)
    status = checkpoint.read(str(folder / run_directory.WEIGHTS_PREFIX))
    status.assert_existing_objects_matched()


def _class_weights(config: ExperimentConfig, info: DatasetInfo) -> list[float] | None:
    if config.train.class_weights == "none":
        return None
    return balanced_weights(info.split(TRAIN_SPLIT)["clips_per_class"], info.classes)
