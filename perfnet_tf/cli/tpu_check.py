"""`perfnet tpu-check`: does this training step fit that TPU?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_preset_flag,
    define_setting_flags,
    preset_of,
)
from perfnet_tf.config import DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.streams import STREAMS

if TYPE_CHECKING:
    from perfnet_tf.tpu_check.check import StepReport

#: What `--teachers=N` means.
_TEACHERS = ("flow", "pose")


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Compiles the real train or distillation step for TPUs, without one, and says if it fits.

    Needs jax and libtpu (pip install 'perfnet-tf[tpu-check]'). Compiling takes 3 to 12 minutes at
    full size, each batch of the search again. The exit status is 0 if the step fits everywhere.
    """
    config = apply_flags(arguments, preset_of(arguments) or ExperimentConfig())
    teachers = _teachers(arguments.teachers)
    if teachers:
        config = config.replace(distill=DistillConfig(arguments.loss))

    def say(line: str) -> None:
        if arguments.progress:
            print(line, file=sys.stderr, flush=True)

    from perfnet_tf.tpu_check.check import StepChecker, check_chips, require_compiler
    from perfnet_tf.tpu_check.lowering import build_distiller
    from perfnet_tf.training.start import plan_memory

    check_chips(arguments.chip)
    if config.train.activation_gib is not None and arguments.largest_batch:
        raise InputError(
            "What is computed again depends on the batch. Received: --activation_gib and "
            "--largest_batch. Leave one out."
        )
    require_compiler()
    clips = arguments.batch_per_core // config.train.accumulate
    plan = plan_memory(config, arguments.num_classes, clips, for_xla=True)
    if plan is not None:
        say(str(plan))
    say(f"building {config.model.backbone} and {len(teachers)} teachers")
    blocks = None if plan is None else plan.blocks
    distiller = build_distiller(config, arguments.num_classes, teachers, computed_again=blocks)
    checker = StepChecker(distiller, config.clip, top=arguments.top, say=say)
    if arguments.largest_batch:
        found = {c: checker.largest(c, arguments.batch_per_core) for c in arguments.chip}
    else:
        found = {c: checker.check(c, arguments.batch_per_core) for c in arguments.chip}
    step = {
        "backbone": config.model.backbone,
        "clip": str(config.clip),
        "stream": config.stream,
        "teachers": list(teachers),
        "precision": config.train.precision,
        "remat": config.train.rematerialize if blocks is None else list(blocks),
        "num_classes": arguments.num_classes,
        "search": arguments.largest_batch,
    }
    if arguments.json:
        chips = {name: report and report.to_json() for name, report in found.items()}
        print(json.dumps({"step": step, "chips": chips}, indent=2))
    else:
        print(_text(step, found))
    return 0 if all(report and report.fits for report in found.values()) else 1


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
    if isinstance(step["remat"], list) and remat:
        remat += f" in {', '.join(step['remat'])}"
    lines = [
        f"{step['backbone']} on {step['stream']} {step['clip']}, {kind}, {step['precision']}"
        f"{remat}: one core's train step, compiled by libtpu",
    ]
    for name, report in found.items():
        if report is None:
            lines.append(f"{name}: not even 1 clip per core fits.")
        else:
            lines += [_verdict(report, largest=step["search"]), *_details(report)]
    return "\n".join(lines)


def _verdict(report: StepReport, *, largest: bool) -> str:
    clips = f"{report.batch_per_core} clips per core"
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
    if report.traffic is not None:
        from perfnet_tf.tpu_check.traffic import describe_traffic

        lines += [f"    {line}" for line in describe_traffic(report.traffic)]
    return lines


COMMAND = Command(
    "tpu-check", "--chip=v3 --batch_per_core=8 --backbone=r3d50_g --clip=64x224x224", _run
)
COMMAND.list("chip", ["v3"], "v2, v3, v4, v5e, v6e; several with commas.", argument="chips")
COMMAND.alias("tpu", "chip")
COMMAND.integer("batch_per_core", 8, "Clips on a core.")
COMMAND.boolean(
    "largest_batch",
    False,
    "Search for the most clips per core that fit, beginning with --batch_per_core.",
)
define_preset_flag(COMMAND, "paper_r3d50_g_kinetics")
define_setting_flags(COMMAND, network=True)
COMMAND.flags.set_default("precision", "mixed_bfloat16")  # what TPUs train in, whatever the preset
COMMAND.string("stream", "rgb", "What the student sees.")
COMMAND.integer("num_classes", 600, "Logits.", lower_bound=1)
COMMAND.list("teachers", [], "Number of teachers (2: flow and pose), or the stream of each.")
COMMAND.string("loss", "separate", "separate or unified.")
COMMAND.integer(
    "top",
    0,
    "Also name so many layers that move most bytes, and the largest results.",
    lower_bound=0,
)
COMMAND.boolean("json", False, "Print JSON rather than text.")
COMMAND.boolean("progress", True, "Report progress on stderr.")
