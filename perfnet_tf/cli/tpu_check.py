"""`perfnet tpu-check`: does this training step fit that TPU?"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.cli.command import Command
from perfnet_tf.config import TRAINING_PRECISIONS, ClipConfig, DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.presets import PRESETS
from perfnet_tf.streams import STREAMS

if TYPE_CHECKING:
    from perfnet_tf.tpu_check.check import StepReport

#: What `--teachers=N` stands for.
_TEACHERS = ("flow", "pose")


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Compiles the real train or distillation step for TPUs, without one, and says if it fits.

    Needs jax and libtpu (pip install 'perfnet-tf[tpu-check]'). Compiling takes 3 to 12 minutes at
    full size, each batch of the search again. The exit status is 0 if the step fits everywhere.
    """
    config, teachers = _config(arguments), _teachers(arguments.teachers)
    if teachers:
        config = config.replace(distill=DistillConfig(arguments.loss))

    def say(line: str) -> None:
        if arguments.progress:
            print(line, file=sys.stderr, flush=True)

    from perfnet_tf.tpu_check.check import StepChecker, check_chips, require_compiler
    from perfnet_tf.tpu_check.lowering import build_distiller

    check_chips(arguments.tpu)
    require_compiler()
    say(f"building {config.model.backbone} and {len(teachers)} teachers")
    distiller = build_distiller(config, arguments.num_classes, teachers)
    checker = StepChecker(distiller, config.clip, say=say)
    if arguments.largest_batch:
        found = {c: checker.largest(c, arguments.batch_per_core) for c in arguments.tpu}
    else:
        found = {c: checker.check(c, arguments.batch_per_core) for c in arguments.tpu}
    step = {
        "backbone": config.model.backbone,
        "clip": str(config.clip),
        "stream": config.stream,
        "teachers": list(teachers),
        "precision": config.train.precision,
        "remat": config.train.rematerialize,
        "num_classes": arguments.num_classes,
        "search": arguments.largest_batch,
    }
    if arguments.json:
        chips = {name: report and report.to_json() for name, report in found.items()}
        print(json.dumps({"step": step, "chips": chips}, indent=2))
    else:
        print(_text(step, found))
    return 0 if all(report and report.fits for report in found.values()) else 1


def _config(arguments: flags.FlagValues) -> ExperimentConfig:
    check_choice("--preset", arguments.preset, PRESETS)
    config = PRESETS[arguments.preset]
    model = config.model
    if arguments.backbone and arguments.backbone != model.backbone:
        model = dataclasses.replace(model, backbone=arguments.backbone, options={})
    if arguments.width_multiplier:
        model = dataclasses.replace(model, width_multiplier=arguments.width_multiplier)
    if arguments.gating:
        model = dataclasses.replace(model, options={**model.options, "gating": arguments.gating})
    train = dataclasses.replace(
        config.train, precision=arguments.precision, rematerialize=arguments.remat
    )
    clip = ClipConfig.parse(arguments.clip) if arguments.clip else config.clip
    return config.replace(stream=arguments.stream, model=model, clip=clip, train=train)


def _teachers(words: list[str]) -> tuple[str, ...]:
    """`2`, or the stream of each teacher."""
    if len(words) == 1 and words[0].isdigit():
        if int(words[0]) > len(_TEACHERS):
            raise InputError(
                f"--teachers is at most {len(_TEACHERS)}, or names their streams. "
                f"Received: {words[0]}."
            )
        return _TEACHERS[: int(words[0])]
    for word in words:
        check_choice("The stream of a teacher", word, STREAMS)
    if len(set(words)) < len(words):
        raise InputError(f"--teachers names a stream twice. Received: {','.join(words)}.")
    return tuple(words)


def _text(step: dict[str, Any], found: dict[str, StepReport | None]) -> str:
    kind = f"with teachers on {', '.join(step['teachers'])}" if step["teachers"] else "plain"
    remat = ", rematerialised" if step["remat"] else ""
    lines = [
        f"{step['backbone']} on {step['stream']} {step['clip']}, {kind}, {step['precision']}"
        f"{remat}: one core's train step, compiled by libtpu",
    ]
    for name, report in found.items():
        if report is None:
            lines.append(f"{name}: not even 1 clip a core fits.")
        else:
            lines += [_verdict(report, largest=step["search"]), *_details(report)]
    return "\n".join(lines)


def _verdict(report: StepReport, *, largest: bool) -> str:
    clips = f"{report.batch_per_core} clips a core"
    if report.fits:
        words = f"at most {clips} fit" if largest else f"{clips}: fits"
        return (
            f"{report.chip.name}: {words}, {report.total_gib:.2f} of {report.chip.memory_gib:g} "
            f"GiB ({report.arguments_gib:.2f} arguments + {report.temporaries_gib:.2f} temporaries)"
        )
    if report.needed_gib is not None:
        return (
            f"{report.chip.name}: {clips}: does not fit, it needs {report.needed_gib:.2f} of "
            f"{report.chip.memory_gib:g} GiB. Try --remat, fewer clips, or --largest_batch."
        )
    return f"{report.chip.name}: {clips}: does not compile: {' '.join(report.error.split())[:500]}"


def _details(report: StepReport) -> list[str]:
    lines = [f"    runs on the host: {name}" for name in report.host_ops]
    lines += [f"    size not known beforehand: {name}" for name in report.dynamic_shapes]
    if report.fits:
        rate = 1e3 * report.batch_per_core / report.roofline_ms
        bound = "arithmetic" if report.arithmetic_ms >= report.memory_ms else "memory traffic"
        lines += [
            f"    {report.tflop:.2f} TFLOP and {report.gb_moved:.1f} GB moved a step, "
            f"{1024 * report.batch_gib:.0f} MiB of batch from the host",
            f"    roofline estimate, not a measurement: {report.roofline_ms:.0f} ms a step at "
            f"best ({bound}), {rate:.1f} clips/s a core",
        ]
    return lines


COMMAND = Command(
    "tpu-check", "--tpu=v3 --batch_per_core=8 --backbone=r3d50_g --clip=64x224x224", _run
)
flags.DEFINE_list(
    "tpu", ["v3"], "v2, v3, v4, v5e, v6e; several with commas.", flag_values=COMMAND.flags
)
flags.DEFINE_integer("batch_per_core", 8, "Clips on a core.", flag_values=COMMAND.flags)
flags.DEFINE_bool(
    "largest_batch",
    False,
    "Search for the most clips a core that fit, beginning with --batch_per_core.",
    flag_values=COMMAND.flags,
)
flags.DEFINE_string(
    "preset", "paper_r3d50_g_kinetics", "Settings to start from.", flag_values=COMMAND.flags
)
flags.DEFINE_string("backbone", None, f"{', '.join(BACKBONES)}.", flag_values=COMMAND.flags)
flags.DEFINE_float(
    "width_multiplier", None, "Scales every layer's channels.", flag_values=COMMAND.flags
)
flags.DEFINE_string("gating", None, "Where features are gated.", flag_values=COMMAND.flags)
flags.DEFINE_string("clip", None, "FRAMESxHEIGHTxWIDTH.", flag_values=COMMAND.flags)
flags.DEFINE_string("stream", "rgb", "What the student sees.", flag_values=COMMAND.flags)
flags.DEFINE_integer("num_classes", 600, "Logits.", lower_bound=1, flag_values=COMMAND.flags)
flags.DEFINE_list(
    "teachers",
    [],
    "Number of teachers (2: flow and pose), or the stream of each.",
    flag_values=COMMAND.flags,
)
flags.DEFINE_string("loss", "separate", "separate or unified.", flag_values=COMMAND.flags)
flags.DEFINE_string(
    "precision", "mixed_bfloat16", f"{' or '.join(TRAINING_PRECISIONS)}.", flag_values=COMMAND.flags
)
flags.DEFINE_bool(
    "remat", False, "Recompute activations for the gradient.", flag_values=COMMAND.flags
)
flags.DEFINE_bool("json", False, "Print JSON rather than text.", flag_values=COMMAND.flags)
flags.DEFINE_bool("progress", True, "Report progress on stderr.", flag_values=COMMAND.flags)
