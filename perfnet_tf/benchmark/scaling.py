"""How latency grows with a clip's length and with the batch."""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.benchmark.comparison import machine
from perfnet_tf.benchmark.config import BenchmarkConfig
from perfnet_tf.benchmark.turns import Contender


@dataclass(frozen=True)
class Point:
    """Medians over rounds of one network at one size; see `Row`."""

    batch: int
    num_frames: int
    latency: float
    cpu: float
    peak_memory: int


def measure_scaling(
    config: BenchmarkConfig,
    *,
    frames: Sequence[int],
    batches: Sequence[int],
    progress: Callable[[str], None] = lambda message: None,
) -> list[Point]:
    """Runs the folded network, in the first of the precisions, at every length and batch.

    Args:
        config: its clip gives height and width, its batch the one for every length.
        frames: lengths, at `config.batch`.
        batches: at the clip's own length.
        progress: called with status messages.
    """
    with tempfile.TemporaryDirectory(prefix="perfnet-bench-") as folder:
        _, num_frames, height, width = config.shape
        spec = {
            "network": "folded",
            "backbone": config.backbone,
            "precision": config.float_precisions[0],
            "shape": (1, 1, height, width),
            "logits": str(pathlib.Path(folder) / "logits.npy"),
            "weights": None,
            "training": False,
            "threads": config.threads,
            "num_classes": config.num_classes,
        }
        module = "perfnet_tf.benchmark.tensorflow_contender"
        sizes = {(config.batch, length) for length in frames} | {(n, num_frames) for n in batches}
        points = []
        with Contender("perfnet", [sys.executable, "-m", module, json.dumps(spec)]) as contender:
            for batch, length in sorted(sizes, key=lambda size: size[0] * size[1]):
                shape = (batch, length, height, width)
                contender.run(shape)
                turns = [contender.run(shape) for _ in range(config.rounds)]
                point = Point(
                    batch,
                    length,
                    statistics.median(turn.wall for turn in turns),
                    statistics.median(turn.cpu for turn in turns),
                    max(turn.peak for turn in turns),
                )
                progress(f"{batch} x {length} frames: {point.latency:.3f} s")
                points.append(point)
    return points


def plot_scaling(
    config: BenchmarkConfig, points: Sequence[Point], path: str | pathlib.Path
) -> None:
    """Draws latency and processor time against frames and against batch, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    _, num_frames, height, width = config.shape
    panels: tuple[tuple[str, list[Point], Callable[[Point], int]], ...] = (
        ("frames", [p for p in points if p.batch == config.batch], lambda p: p.num_frames),
        ("batch", [p for p in points if p.num_frames == num_frames], lambda p: p.batch),
    )
    for axes, (name, those, size) in zip(figure.subplots(1, 2), panels, strict=True):
        those = sorted(those, key=size)
        sizes = [size(point) for point in those]
        axes.plot(sizes, [point.latency for point in those], "o-", label="latency")
        axes.plot(sizes, [point.cpu for point in those], "s--", label="processor time")
        axes.set(xlabel=name, ylabel="seconds", xlim=(0, None), ylim=(0, None))
        axes.legend()
        axes.grid(alpha=0.3)
    figure.suptitle(
        f"{config.backbone}, {height}x{width}, {config.precisions[0]}, {machine()}", fontsize=10
    )
    figure.savefig(path, dpi=120)


def growth(points: Sequence[Point]) -> float:
    """How processor time grows with frames: the slope of its logarithm over theirs; 1 is linear.

    By least squares, over points of one batch. The fixed cost of short clips makes it less.
    """
    frames = np.log([point.num_frames for point in points])
    return float(np.polyfit(frames, np.log([point.cpu for point in points]), 1)[0])


def format_points(config: BenchmarkConfig, points: Sequence[Point]) -> str:
    """The points as Markdown, under a line that says what was measured and where."""
    _, _, height, width = config.shape
    lines = [
        f"{config.backbone}, folded, {config.precisions[0]}, {height}x{width}, medians of "
        f"{config.rounds} runs, {machine()}",
        "",
        "| batch | frames | latency | processor time a frame | peak memory |",
        "|---|---|---|---|---|",
    ]
    for point in points:
        per_frame = 1e3 * point.cpu / (point.batch * point.num_frames)
        lines.append(
            f"| {point.batch} | {point.num_frames} | {1e3 * point.latency:.0f} ms "
            f"| {per_frame:.2f} ms | {point.peak_memory / 2**30:.2f} GiB |"
        )
    lengths = [point for point in points if point.batch == config.batch]
    if len(lengths) > 1:
        lines += ["", f"Processor time grows as frames to the power of {growth(lengths):.2f}."]
    return "\n".join(lines)
