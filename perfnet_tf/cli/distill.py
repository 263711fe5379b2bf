"""`perfnet distill`: a student that matches its teachers' logits."""

from __future__ import annotations

import dataclasses
from typing import Any

from absl import flags

from perfnet_tf.classes import read_class_names
from perfnet_tf.cli.command import Command, warn_runs_code
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_experiment_flags,
    devices,
    preset_of,
    run_training,
)
from perfnet_tf.cli.named_values import parse_named_values
from perfnet_tf.config import (
    CLIP_WEIGHTS,
    DISTILLATION_TERMS,
    DistillConfig,
    ExperimentConfig,
)
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.streams import STREAMS


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains an RGB student that also matches the logits of flow and pose teachers.

    Teachers are runs, SavedModels, or TF Hub handles, of the student's classes in any order. A
    SavedModel that is not of perfnet export is named by the stream that it sees, and needs
    --teacher_labels. Teachers need no labels: --unlabelled=DATA adds clips that learn from them
    alone. Loading a SavedModel runs code from it: name only those you trust. Without
    --preset the network and the clips are those of --from. Rerun the command to resume an
    interrupted run.
    """
    sources = parse_named_values("teachers", arguments.teachers)
    maps = parse_named_values("teacher_labels", arguments.teacher_labels)
    for name in maps:
        check_choice("A teacher of --teacher_labels", name, sources)
    labels = {name: read_class_names(path) for name, path in maps.items()}
    config = experiment_of(arguments)
    if arguments.unlabelled_batch is not None and arguments.unlabelled is None:
        raise InputError(
            "--unlabelled_batch goes with --unlabelled. Received: "
            f"{arguments.unlabelled_batch} alone. Name the prepared clips, or leave it out."
        )
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.recognizers.run_directory import is_run

    for source in sources.values():
        if not is_run(source):
            warn_runs_code(source)
    strategy = devices(arguments)
    teachers: dict[str, Any] = dict(sources)
    with strategy.scope():
        for name, classes in labels.items():
            teachers[name] = load(
                sources[name],
                stream=name if name in STREAMS else None,
                classes=classes,
                precision=config.train.precision,
            )
    start = arguments["from"].value
    initial = load(start, trainable=True) if start else None
    if initial is not None and arguments.preset is None:
        config = experiment_of(arguments, initial.run().config)
    return run_training(
        arguments,
        config,
        teachers=teachers,
        unlabelled=arguments.unlabelled,
        initial=initial,
        strategy=strategy,
    )


def experiment_of(
    arguments: flags.FlagValues, initial: ExperimentConfig | None = None
) -> ExperimentConfig:
    """What the flags ask for; teachers weigh what is given, or else what the preset says.

    Args:
        arguments: the flags.
        initial: of the run whose network and clips are taken without --preset.
    """
    preset = preset_of(arguments) or ExperimentConfig()
    if initial is not None:
        preset = preset.replace(model=initial.model, clip=initial.clip, eval_clip=initial.eval_clip)
    teachers = parse_named_values("teachers", arguments.teachers)
    distill = (preset.distill or DistillConfig()).of(arguments.loss, teachers)
    if arguments.teacher_weight:
        weights = {**distill.teacher_weights, **_weights(arguments, teachers)}
        distill = dataclasses.replace(distill, teacher_weights=weights)
    given = {
        name: value
        for name in (
            "term",
            "temperature",
            "clip_weights",
            "unlabelled_batch",
            "teacher_windows",
            "feature_weight",
        )
        if (value := getattr(arguments, name)) is not None
    }
    distill = dataclasses.replace(distill, **given)
    return apply_flags(arguments, preset).replace(distill=distill)


def _weights(arguments: flags.FlagValues, teachers: dict[str, str]) -> dict[str, float]:
    """One weight for all terms of the loss, or `NAME=WEIGHT` pairs."""
    words = arguments.teacher_weight
    if len(words) == 1 and "=" not in words[0]:
        terms = ["unified"] if arguments.loss == "unified" else list(teachers)
        weights = dict.fromkeys(terms, words[0])
    else:
        weights = parse_named_values("teacher_weight", words)
    try:
        return {name: float(weight) for name, weight in weights.items()}
    except ValueError as error:
        raise InputError(
            "--teacher_weight is one number, or NAME=NUMBER for each teacher. "
            f"Received: {','.join(words)}."
        ) from error


COMMAND = Command("distill", "--data=DIR --teachers=flow=RUN,pose=RUN --output=RUN", _run)
define_experiment_flags(COMMAND, network=True)
COMMAND.string("stream", "rgb", "What the student sees.")
COMMAND.list(
    "teachers",
    [],
    "NAME=SOURCE, comma separated; a source is a run, a SavedModel or a TF Hub handle.",
)
COMMAND.list(
    "teacher_labels",
    [],
    "NAME=FILE: names of a teacher's classes in logit order, one per line or JSON; for a "
    "SavedModel that does not say them, or a run whose classes have no names.",
)
COMMAND.string(
    "loss",
    "separate",
    "separate: one squared error for each teacher (Eq. 1); unified: one against their sum.",
)
COMMAND.list(
    "teacher_weight",
    [],
    "Weight of the teachers' terms: one number, or NAME=NUMBER for some teachers; where it is not "
    "given, the preset's, or 1.",
)
COMMAND.string(
    "term",
    None,
    f"{', '.join(DISTILLATION_TERMS)}: how the student matches a teacher's logits; without it, the "
    "preset's, or Eq. 1's squared error.",
)
COMMAND.number("temperature", None, "Of --term=kl: what logits are divided by.")
COMMAND.string(
    "clip_weights",
    None,
    f"{' or '.join(CLIP_WEIGHTS)}: a teacher's term counts as much as the teacher trusts the "
    "clip's label.",
)
COMMAND.string(
    "unlabelled",
    None,
    "Prepared dataset whose training clips learn from the teachers only; its labels are ignored.",
)
COMMAND.integer(
    "unlabelled_batch",
    None,
    "Clips of --unlabelled in each batch; without it, as many as clips of --data.",
)
COMMAND.integer(
    "teacher_windows",
    None,
    "Compute the teachers once, before training: the mean of so many windows of each video; 0 "
    "computes them at every step for the student's own crop, as in the paper.",
)
COMMAND.number(
    "feature_weight",
    None,
    "Of a further term for each teacher, a run as wide as the student: the squared error between "
    "their pooled features.",
)
COMMAND.string(
    "from", None, "Run, or export that can be trained, whose weights the student starts from."
)
COMMAND.require("data", "output", "teachers")
