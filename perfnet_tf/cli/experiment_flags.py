"""The flags that train, distill and finetune share: a preset, and what changes in it."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.cli.command import Command, FlagSet
from perfnet_tf.cli.view_flags import parse_clip
from perfnet_tf.config import (
    CLASS_WEIGHTS,
    OPTIMIZERS,
    SAMPLINGS,
    TRAINING_PRECISIONS,
    ClipConfig,
    ExperimentConfig,
    PoseRenderConfig,
    TrainConfig,
)
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.variants import POSE_VARIANTS, current_variant_name
from perfnet_tf.presets import PRESETS, load_preset

if TYPE_CHECKING:
    import tensorflow as tf

    from perfnet_tf.recognizers.recognizer import Recognizer

#: Flag -> attribute, by the part of the configuration that holds it.
_NETWORK = {
    "backbone": "backbone",
    "width_multiplier": "width_multiplier",
}
_REGULARISATION = {"dropout": "dropout_rate", "weight_decay": "weight_decay"}
_TRAIN = {
    "epochs": "epochs",
    "batch": "batch_size",
    "learning_rate": "learning_rate",
    "warmup_epochs": "warmup_epochs",
    "optimizer": "optimizer",
    "momentum": "momentum",
    "head_learning_rate_scale": "head_learning_rate_scale",
    "freeze": "freeze",
    "class_weights": "class_weights",
    "sampling": "sampling",
    "early_stopping_epochs": "early_stopping_epochs",
    "keep": "keep",
    "accumulate": "accumulate",
    "label_smoothing": "label_smoothing",
    "clip_norm": "clip_norm",
    "mixup": "mixup",
    "mirror": "mirror",
    "precision": "precision",
    "seed": "seed",
    "checkpoint_every_steps": "checkpoint_every_steps",
    "steps_per_execution": "steps_per_execution",
    "validate_every_epochs": "validate_every_epochs",
    "remat": "rematerialize",
    "activation_gib": "activation_gib",
    "sync_batch_norm": "synchronize_batch_norm",
}
_POSE = {
    "pose_marker": "marker",
    "pose_colors": "num_colors",
    "pose_ratio_aware": "ratio_aware",
    "pose_background": "background",
    "pose_min_score": "min_score",
    "pose_thickness": "thickness",
}


def define_experiment_flags(command: Command, *, network: bool) -> None:
    """Defines the flags of a command that trains one run.

    Args:
        command: whose flags they are.
        network: whether the command chooses the network.
    """
    command.string("data", None, "Prepared dataset.")
    command.string(
        "output", None, "Folder of the run: new, empty, or of this very run, to resume it."
    )
    define_validation_flag(command)
    define_preset_flag(command, None)
    command.integer("seed", None, "Random seed of initialisation, order and augmentation.")
    define_setting_flags(command, network=network)
    define_device_flags(command)


def define_validation_flag(command: Command) -> None:
    """Defines --validation_fold, which `training_data` reads."""
    command.integer(
        "validation_fold",
        None,
        "Hold out one of four parts of the training clips, 0 to 3, as the split val: trains on "
        "DATA/validationN. No recording is in two parts.",
    )


def training_data(arguments: flags.FlagValues) -> str | pathlib.Path:
    """--data, or the part of it that --validation_fold trains on, which is written if need be."""
    from perfnet_tf.datasets.groups import validation_folder, write_validation_subset

    data: str = arguments.data
    fold = arguments.validation_fold
    if fold is None:
        return data
    write_validation_subset(data, fold=fold)
    return validation_folder(data, fold)


def define_preset_flag(command: Command, default: str | None) -> None:
    """Defines --preset, which `preset_of` reads."""
    command.string(
        "preset",
        default,
        f"Settings to start from: {', '.join(PRESETS)}, or the config.json of a run. Other flags "
        "change them.",
    )


def define_setting_flags(command: FlagSet, *, network: bool) -> None:
    """Defines the flags that change an `ExperimentConfig` (`apply_flags`), all but its seed.

    A flag that is not given keeps what is there, so all are None by default.
    """
    argument = {**_NETWORK, **_REGULARISATION, **_TRAIN, **_POSE}

    def text(name: str, help_text: str) -> None:
        command.string(name, None, help_text, argument=argument.get(name))

    def number(name: str, help_text: str) -> None:
        command.number(name, None, help_text, argument=argument.get(name))

    def whole(name: str, help_text: str) -> None:
        command.integer(name, None, help_text, argument=argument.get(name))

    def switch(name: str, help_text: str) -> None:
        command.boolean(name, None, help_text, argument=argument.get(name))

    if network:
        text("backbone", f"{', '.join(BACKBONES)}.")
        number("width_multiplier", "Scales every layer's channels.")
        text("gating", "Where the features are gated: see perfnet models.")
    number("dropout", "Rate of the dropout before the classifier.")
    number("weight_decay", "Decay of kernels: in the loss, or AdamW's own.")
    text("clip", "Training clip, FRAMESxHEIGHTxWIDTH.")
    text("eval_clip", "Evaluation clip; without it, the training clip.")
    whole("frame_stride", "Take every n-th stored frame.")
    whole("short_side", "Pixels of the frames' shorter side before the crop.")
    whole("epochs", "Passes over the training clips.")
    whole("batch", "Clips in a batch, over all devices.")
    text("optimizer", f"{', '.join(OPTIMIZERS)}.")
    number(
        "learning_rate",
        "Peak rate; without it, 1.6 for each 2048 clips of the batch, and 3e-5 for Adam and AdamW.",
    )
    number("head_learning_rate_scale", "Multiple of the rate for the classifier.")
    command.list(
        "freeze",
        None,
        "What is not trained: batch_norm, stem, all_but_head, or an endpoint and everything before "
        "it.",
        argument="freeze",
    )
    text("class_weights", f"{' or '.join(CLASS_WEIGHTS)}: uneven classes weigh the same.")
    number("warmup_epochs", "Length of the linear warm-up; without it, an eleventh of the epochs.")
    number("momentum", "Momentum of the SGD, or of Adam's first moment.")
    whole("accumulate", "Micro-batches that a batch is computed in: less memory, the same step.")
    number("label_smoothing", "Share of each label that is spread over all classes.")
    number("clip_norm", "Scale gradients down to this global norm.")
    number("mixup", "Mix clips in pairs, by shares from Beta(MIXUP, MIXUP); 0 does not.")
    switch("mirror", "Mirror half of the clips; turn off if classes distinguish left from right.")
    text("precision", f"{' or '.join(TRAINING_PRECISIONS)}.")
    text("sampling", f"{' or '.join(SAMPLINGS)}: each class equally often.")
    whole("early_stopping_epochs", "Stop after so many epochs without a better validation.")
    text("keep", "last or best: the weights of the epoch that validates best.")
    whole("checkpoint_every_steps", "Save at least this often.")
    whole("steps_per_execution", "Steps run as one call of the graph.")
    whole("validate_every_epochs", "Measure on the val or test split this often.")
    text("pose_variant", f"A row of PERF-Net Table 2 (pose): {', '.join(POSE_VARIANTS)}.")
    text("pose_marker", "bar or dot (the pose stream).")
    whole("pose_colors", "13 or 6.")
    switch("pose_ratio_aware", "Thickness in proportion to the person.")
    text("pose_background", "rgb or black.")
    number("pose_min_score", "Keypoints below this score are not drawn.")
    number("pose_thickness", "Of a bar, as a share of the person's or the frame's size.")
    switch("remat", "Recompute activations for the gradient: less memory, more time.")
    number(
        "activation_gib",
        "GiB for a step's activations on a device, by estimate: recompute as few as fit.",
    )
    switch("sync_batch_norm", "Normalise over the clips of all devices, not of each.")


def define_device_flags(command: Command) -> None:
    """Defines where and how a command trains, which decides nothing of its results."""
    command.string(
        "strategy", "auto", "auto, one_device, mirrored (all GPUs), multiworker (TF_CONFIG) or tpu."
    )
    command.string(
        "tpu", None, "Name or address of the TPU, for --strategy=tpu; local is this machine's."
    )
    command.boolean("jit_compile", False, "Compile the step by XLA; on CPUs that is slower.")
    command.boolean(
        "deterministic",
        False,
        "The same weights, bit for bit, from the same command on the same kind of device.",
    )
    command.boolean("progress", True, "Report progress.")


def preset_of(arguments: flags.FlagValues) -> ExperimentConfig | None:
    """The settings to start from that --preset names, if it was given.

    Raises:
        InputError: as `load_preset`.
    """
    return None if arguments.preset is None else load_preset(arguments.preset)


def apply_flags(arguments: flags.FlagValues, base: ExperimentConfig) -> ExperimentConfig:
    """`base`, changed by the flags that were given.

    Raises:
        InputError: a value that breaks a rule of the configuration.
    """
    model = dataclasses.replace(
        base.model, **_given(arguments, _NETWORK), **_given(arguments, _REGULARISATION)
    )
    if _value(arguments, "backbone") and model.backbone != base.model.backbone:
        model = dataclasses.replace(model, options={})  # options are the backbone's own
    if _value(arguments, "gating"):
        model = dataclasses.replace(model, options={**model.options, "gating": arguments.gating})
    stream = _value(arguments, "stream")
    return base.replace(
        **({"stream": stream} if stream else {}),
        model=model,
        clip=_clip(arguments, base.clip, arguments.clip),
        eval_clip=_eval_clip(arguments, base),
        train=_train(arguments, base.train),
        pose_render=_pose_render(arguments, base.pose_render),
    )


def devices(arguments: flags.FlagValues) -> tf.distribute.Strategy:
    """The devices that the flags name. To be called before TensorFlow does anything else.

    Raises:
        InputError: they are not there.
    """
    from perfnet_tf.training.strategy import make_strategy

    if arguments.tpu is not None and arguments.strategy not in ("auto", "tpu"):
        raise InputError(
            f"--tpu goes with --strategy=tpu. Received: --strategy={arguments.strategy}."
        )
    name = "tpu" if arguments.tpu is not None else arguments.strategy
    return make_strategy(name, tpu=arguments.tpu or "local")


def run_training(
    arguments: flags.FlagValues,
    config: ExperimentConfig,
    *,
    teachers: Mapping[str, Any] | None = None,
    unlabelled: str | None = None,
    initial: Recognizer | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> int:
    """Trains as the flags say and prints where the run is; returns the exit status.

    `strategy` is what `devices` gave, where something was loaded before this.
    """
    from perfnet_tf.training.trainer import train

    note_mirrored_sides(arguments, mirror=config.train.mirror)
    run = train(
        config,
        training_data(arguments),
        arguments.output,
        teachers=teachers,
        unlabelled=unlabelled,
        initial=initial,
        strategy=strategy or devices(arguments),
        jit_compile=arguments.jit_compile,
        deterministic=arguments.deterministic,
        progress=arguments.progress,
    )
    print(f"{run.path}: {run.record['steps']} steps done.")
    plugins = f" --plugin={','.join(arguments.plugin)}" if arguments.plugin else ""
    print(
        f"next: perfnet evaluate --models={run.path} --data={arguments.data} --output=DIR{plugins}"
    )
    return 0


def note_mirrored_sides(arguments: flags.FlagValues, *, mirror: bool) -> None:
    """Notes on standard error that clips are mirrored though classes say left or right.

    Nothing is noted where --mirror is given.
    """
    from perfnet_tf.classes import sided_classes
    from perfnet_tf.records.folder import read_dataset_info

    if not mirror or arguments["mirror"].present:
        return
    sided = sided_classes(read_dataset_info(arguments.data).classes)
    if sided:
        print(
            f"note: clips are mirrored in training, and classes say left or right ({sided[0]}). "
            "--nomirror turns it off, --mirror keeps it without this note.",
            file=sys.stderr,
            flush=True,
        )


def _train(arguments: flags.FlagValues, base: TrainConfig) -> TrainConfig:
    changes = _given(arguments, _TRAIN)
    if changes.get("optimizer", base.optimizer) != base.optimizer:
        changes.setdefault("learning_rate", None)  # that was chosen for the other optimizer
    return dataclasses.replace(base, **changes)


def _clip(arguments: flags.FlagValues, base: ClipConfig, text: str | None) -> ClipConfig:
    changes = _given(arguments, {"frame_stride": "frame_stride", "short_side": "short_side"})
    if text is None:
        return dataclasses.replace(base, **changes)
    return parse_clip(text, base, **changes)


def _eval_clip(arguments: flags.FlagValues, base: ExperimentConfig) -> ClipConfig | None:
    if arguments.eval_clip is not None:
        return _clip(arguments, base.resolved_eval_clip, arguments.eval_clip)
    if arguments.clip is not None or base.eval_clip is None:
        return None
    return _clip(arguments, base.eval_clip, None)


def _pose_render(arguments: flags.FlagValues, base: PoseRenderConfig) -> PoseRenderConfig:
    variant = _value(arguments, "pose_variant")
    if variant is not None:
        variant = current_variant_name(variant)
        check_choice("--pose_variant", variant, POSE_VARIANTS)
        # The table says nothing of these two.
        base = dataclasses.replace(
            POSE_VARIANTS[variant], min_score=base.min_score, thickness=base.thickness
        )
    return dataclasses.replace(base, **_given(arguments, _POSE))


def _given(arguments: flags.FlagValues, names: Mapping[str, str]) -> dict[str, Any]:
    """Attribute -> value for the flags of `names` that were given."""
    given = {attribute: _value(arguments, flag) for flag, attribute in names.items()}
    return {attribute: value for attribute, value in given.items() if value is not None}


def _value(arguments: flags.FlagValues, name: str) -> Any:
    """The value of a flag that not every command has."""
    return arguments[name].value if name in arguments else None
