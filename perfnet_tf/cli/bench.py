"""`perfnet bench`: how fast networks run here, next to other libraries'."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.cli.command import Command
from perfnet_tf.config import INFERENCE_PRECISIONS
from perfnet_tf.errors import InputError

if TYPE_CHECKING:
    from perfnet_tf.benchmark.config import BenchmarkConfig


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Measures latency, throughput, memory and agreement of networks that take turns.

    R3D50-G runs against Model Garden's ResNet3D, with its weights; S3D-G against torchvision's S3D
    if --torch_python names an interpreter that has torch and torchvision (python -m venv torch;
    torch/bin/pip install torch torchvision). This package's network also runs in LiteRT, ONNX
    Runtime, OpenVINO and torch (by onnx2torch), where these are installed (extras [onnx] and
    [openvino]). In every round each network runs once, so that other work on the machine falls on
    all of them; ratios are those of the medians. A network that fails is named under the table.

    --training measures forward, backward and update. --scaling measures the folded network at
    growing lengths and batches instead, and draws them. --output keeps tables, numbers and plot.
    """
    from perfnet_tf.benchmark.comparison import format_table, run_benchmark
    from perfnet_tf.benchmark.config import BenchmarkConfig, default_clip
    from perfnet_tf.config import ClipConfig

    if arguments.scaling and arguments.training:
        raise InputError("--scaling is of inference. Received --training, too.")
    tables, results = [], []

    def tell(message: str) -> None:
        if sys.stderr.isatty():  # one line that changes
            print(f"\r\033[K{message}", end="", file=sys.stderr, flush=True)
        elif message:
            print(message, file=sys.stderr, flush=True)

    configs = [
        BenchmarkConfig(
            backbone=backbone,
            clip=clip,
            batch=arguments.batch,
            rounds=arguments.rounds,
            precisions=tuple(arguments.precisions),
            training=arguments.training,
            peers=arguments.peers,
            runtimes=arguments.runtimes,
            torch_python=arguments.torch_python,
            threads=arguments.threads,
        )
        for backbone in arguments.backbones
        for clip in [ClipConfig.parse(text) for text in arguments.clips] or [default_clip(backbone)]
    ]
    output = None if arguments.output is None else pathlib.Path(arguments.output)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    for config in configs:
        try:
            if arguments.scaling:
                table, measured = _scale(arguments, config, output, tell)
            else:
                found = run_benchmark(config, progress=tell)
                table = format_table(config, found.rows, found.failures)
                measured = {
                    "rows": [dataclasses.asdict(row) for row in found.rows],
                    "failures": dict(found.failures),
                }
        finally:
            tell("")
        print(f"{table}\n", flush=True)
        tables.append(table)
        results.append({"config": dataclasses.asdict(config), **measured})
        if output is not None:  # after each, so that a run cut short keeps what it has
            (output / "bench.md").write_text("\n\n".join(tables) + "\n")
            (output / "bench.json").write_text(json.dumps(results, indent=2) + "\n")
    return 0


def _scale(
    arguments: flags.FlagValues,
    config: BenchmarkConfig,
    output: pathlib.Path | None,
    tell: Callable[[str], None],
) -> tuple[str, dict[str, Any]]:
    from perfnet_tf.benchmark.scaling import format_points, growth, measure_scaling, plot_scaling

    frames = [int(number) for number in arguments.frames]
    batches = [int(number) for number in arguments.batches]
    points = measure_scaling(config, frames=frames, batches=batches, progress=tell)
    if output is not None:
        plot_scaling(config, points, output / f"scaling_{config.backbone}.png")
    lengths = [point for point in points if point.batch == config.batch]
    values = {"points": [dataclasses.asdict(point) for point in points], "growth": growth(lengths)}
    return format_points(config, points), values


COMMAND = Command("bench", "[--torch_python=PATH] [--output=DIR]", _run)
COMMAND.list("backbones", ["r3d50_g", "s3d_g"], ", ".join(BACKBONES) + ".")
COMMAND.list(
    "clips", [], "FRAMESxHEIGHTxWIDTH; without it 16x112x112, and 16x224x224 of s3d_g and s3d."
)
COMMAND.integer("batch", 1, "Clips a run.")
COMMAND.integer("rounds", 5, "Runs of each network that count.")
COMMAND.list(
    "precisions",
    [*INFERENCE_PRECISIONS, "int8"],
    "Of every network; int8 is of runtimes that quantise.",
)
COMMAND.boolean("training", False, "Measure a training step.")
COMMAND.boolean("peers", True, "Run others' networks too.")
COMMAND.boolean("runtimes", True, "Run this package's network in the runtimes installed here too.")
COMMAND.string("torch_python", None, "Interpreter of an environment with torch and torchvision.")
COMMAND.integer("threads", 0, "Threads of every network; 0 leaves that to its library.")
COMMAND.boolean("scaling", False, "Latency against frames and batch.")
COMMAND.list("frames", ["8", "16", "32", "64", "128", "250"], "With --scaling.")
COMMAND.list("batches", ["1", "2", "4", "8"], "With --scaling.")
COMMAND.string("output", None, "Folder for bench.md, bench.json and plots.")
