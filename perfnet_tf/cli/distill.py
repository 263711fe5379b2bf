"""`perfnet distill`: a student that matches its teachers' logits."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command, tell_of_code
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_experiment_flags,
    load_initial,
    preset_of,
    run_training,
)
from perfnet_tf.config import DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains an RGB student that also matches the logits of flow and pose teachers.

    Teachers are runs, SavedModels of perfnet export, or TF Hub handles, of the student's classes.
    Loading a SavedModel runs code from it: name only those you trust. Stopped and given again, the
    command goes on where it stopped.
    """
    teachers = _pairs("teachers", arguments.teachers)
    config = apply_flags(arguments, preset_of(arguments) or ExperimentConfig())
    config = config.replace(distill=DistillConfig(arguments.loss, _weights(arguments, teachers)))
    from perfnet_tf.training.run_directory import is_run

    for source in teachers.values():
        if not is_run(source):
            tell_of_code(source)
    start = arguments["from"].value
    initial = load_initial(start) if start else None
    return run_training(arguments, config, teachers=teachers, initial=initial)


def _pairs(flag: str, words: list[str]) -> dict[str, str]:
    """`NAME=VALUE,...` as a dict."""
    pairs = [word.partition("=") for word in words]
    bad = [word for word, pair in zip(words, pairs, strict=True) if not (pair[0] and pair[2])]
    if bad:
        raise InputError(f"--{flag} is written NAME=VALUE,NAME=VALUE. Received: {bad[0]!r}.")
    result = {name: value for name, _, value in pairs}
    if len(result) < len(pairs):
        raise InputError(f"--{flag} names something twice. Received: {','.join(words)}.")
    return result


def _weights(arguments: flags.FlagValues, teachers: dict[str, str]) -> dict[str, float]:
    """One weight for all terms of the loss, or `NAME=WEIGHT` pairs."""
    words = arguments.teacher_weight
    if len(words) == 1 and "=" not in words[0]:
        terms = ["unified"] if arguments.loss == "unified" else list(teachers)
        weights = dict.fromkeys(terms, words[0])
    else:
        weights = _pairs("teacher_weight", words)
    try:
        return {name: float(weight) for name, weight in weights.items()}
    except ValueError as error:
        raise InputError(
            "--teacher_weight is one number, or NAME=NUMBER for each teacher. "
            f"Received: {','.join(words)}."
        ) from error


COMMAND = Command("distill", "--data=DIR --teachers=flow=RUN,pose=RUN --output=RUN", _run)
define_experiment_flags(COMMAND, network=True)
flags.DEFINE_string("stream", "rgb", "What the student sees.", flag_values=COMMAND.flags)
flags.DEFINE_list(
    "teachers",
    [],
    "NAME=SOURCE, comma separated; a source is a run, a SavedModel or a TF Hub handle.",
    flag_values=COMMAND.flags,
)
flags.DEFINE_string(
    "loss",
    "separate",
    "separate: one squared error for each teacher (Eq. 1); unified: one against their sum.",
    flag_values=COMMAND.flags,
)
flags.DEFINE_list(
    "teacher_weight",
    [],
    "Weight of the squared errors: one number, or NAME=NUMBER for each teacher; else 1.",
    flag_values=COMMAND.flags,
)
flags.DEFINE_string(
    "from",
    None,
    "Run or SavedModel whose weights the student starts from.",
    flag_values=COMMAND.flags,
)
COMMAND.require("data", "output", "teachers")
