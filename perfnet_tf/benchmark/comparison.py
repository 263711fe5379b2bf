"""Who is compared with whom, and what came of it."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.benchmark.turns import Contender, Turn, median_ratio, take_turns
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig
from perfnet_tf.errors import InputError, check_choice


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure.

    Attributes:
        backbone: `r3d50_g`, next to Model Garden's `ResNet3D`, `s3d_g`, next to torchvision's, or
            any other, alone.
        clip: frames, height and width.
        batch: clips per run.
        rounds: runs of each contender that count.
        precisions: of both sides; `bfloat16` is mixed precision or autocast where users have that.
        training: measure a training step rather than inference; against Model Garden only.
        peers: whether to run others' networks at all.
        torch_python: interpreter of an environment with torch and torchvision; None leaves
            torchvision out.
        threads: of each contender; 0 leaves that to its library.
        num_classes: of every network.
    """

    backbone: str = "r3d50_g"
    clip: ClipConfig = ClipConfig(16, 112, 112)
    batch: int = 1
    rounds: int = 5
    precisions: tuple[str, ...] = INFERENCE_PRECISIONS
    training: bool = False
    peers: bool = True
    torch_python: str | None = None
    threads: int = 0
    num_classes: int = 400

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, BACKBONES)
        for precision in self.precisions:
            check_choice("precision", precision, INFERENCE_PRECISIONS)
        for name in ("batch", "rounds", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or greater. Received: {getattr(self, name)}.")
        if not self.precisions:
            raise InputError("At least one precision must be measured. Received: none.")
        if self.training and self.torch_python and self.backbone == "s3d_g":
            raise InputError(
                "Training steps are measured against Model Garden only. Received: s3d_g with a "
                "torch_python. Take r3d50_g."
            )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[batch, frames, height, width]."""
        return (self.batch, self.clip.num_frames, self.clip.height, self.clip.width)


@dataclass(frozen=True)
class Entry:
    """One contender: what the table calls it and how it is started.

    Attributes:
        name: unique in its table.
        precision: `float32` or `bfloat16`.
        peer: whether others wrote it.
        weights: contenders with the same have the same logits, but for rounding.
        command: starts its process; what it writes there is its `logits` file.
        logits: that file, or None for training.
    """

    name: str
    precision: str
    peer: bool
    weights: str
    command: tuple[str, ...]
    logits: pathlib.Path | None


@dataclass(frozen=True)
class Row:
    """A line of the table; times are medians over rounds, of one run of the whole batch.

    Attributes:
        name, precision, peer: of the contender.
        latency: seconds.
        clips_per_second: the batch by the latency.
        cpu: processor seconds, less disturbed than the latency by other work on the machine.
        peak_memory: bytes, libraries included.
        difference: of the logits from the first contender's with the same weights, as a share of
            its largest; None in training, and for that first one.
        speedup: how many times as fast as the table's first line: the median of the rounds' ratios.
        speedup_over_best: as the fastest peer; None without peers.
        cpu_speedup: as `speedup`, of processor time.
    """

    name: str
    precision: str
    peer: bool
    latency: float
    clips_per_second: float
    cpu: float
    peak_memory: int
    difference: float | None
    speedup: float
    speedup_over_best: float | None
    cpu_speedup: float


def run_benchmark(
    config: BenchmarkConfig, *, progress: Callable[[str], None] = lambda message: None
) -> list[Row]:
    """Runs all contenders in turn, peers first.

    Args:
        config: what to measure.
        progress: called with status messages.

    Returns:
        A row each, in the order of the table.

    Raises:
        InputError: a contender cannot be started or ran out of memory.
    """
    with tempfile.TemporaryDirectory(prefix="perfnet-bench-") as name:
        folder = pathlib.Path(name)
        entries = list_entries(config, folder)
        progress(f"starting {len(entries)} processes")
        turns: dict[str, list[Turn]] = {entry.name: [] for entry in entries}
        starts = {e.name: functools.partial(Contender, e.name, e.command) for e in entries}
        for name, turn in take_turns(starts, config.shape, rounds=config.rounds):
            turns[name].append(turn)
            progress(f"round {len(turns[name])} of {config.rounds}: {name} {turn.wall:.3f} s")
        return make_rows(config, entries, turns)


def list_entries(config: BenchmarkConfig, folder: pathlib.Path) -> list[Entry]:
    """The contenders, peers first; they keep weights and logits in `folder`."""
    entries: list[Entry] = []
    common: dict[str, Any] = {
        "shape": config.shape,
        "threads": config.threads,
        "num_classes": config.num_classes,
        "training": config.training,
    }

    def add(name: str, precision: str, start: Sequence[str], *, peer: bool, **spec: Any) -> None:
        logits = folder / f"logits{len(entries)}.npy"
        text = json.dumps({**common, **spec, "precision": precision, "logits": str(logits)})
        entries.append(
            Entry(
                name, precision, peer, spec["weights"] or spec["backbone"], (*start, text),
                None if config.training else logits,
            )
        )  # fmt: skip

    here = [sys.executable, "-m", "perfnet_tf.benchmark.tensorflow_contender"]
    weights, source, same = None, None, config.backbone
    if config.backbone == "r3d50_g" and config.peers:
        weights, source = str(folder / "garden"), "model_garden_r3d50"
        for precision in config.precisions:
            add(
                "Model Garden ResNet3D", precision, here,
                peer=True, network="model_garden", weights=weights,
            )  # fmt: skip
    elif config.backbone == "s3d_g" and config.peers and config.torch_python is not None:
        weights, source, same = str(folder / "s3d.safetensors"), "torchvision_s3d", "s3d"
        file = pathlib.Path(__file__).with_name("torch_contender.py")
        torch = [config.torch_python, str(file)]
        for precision in config.precisions:
            for channels_last in (False, True):
                layout = ", channels last" if channels_last else ""
                add(
                    f"torchvision s3d{layout}", precision, torch,
                    peer=True, weights=weights, channels_last=channels_last,
                )  # fmt: skip

    def add_own(backbone: str, weights: str | None, networks: Sequence[str]) -> None:
        for network in networks:
            for precision in config.precisions:
                add(
                    f"perfnet {backbone}, {network}", precision, here,
                    peer=False, network=network, backbone=backbone, weights=weights, source=source,
                )  # fmt: skip

    networks = ["keras"] if config.training else ["keras", "folded"]
    add_own(config.backbone, None if same == "s3d" else weights, networks)
    if same == "s3d":  # torchvision's has no gates: its weights are compared without
        add_own("s3d", weights, ["folded"])
    names = [f"{entry.name}, {entry.precision}" for entry in entries]
    return [
        dataclasses.replace(entry, name=name) for entry, name in zip(entries, names, strict=True)
    ]


def make_rows(
    config: BenchmarkConfig, entries: Sequence[Entry], turns: dict[str, list[Turn]]
) -> list[Row]:
    """What the table says of the turns."""
    walls = {name: [turn.wall for turn in those] for name, those in turns.items()}
    cpus = {name: [turn.cpu for turn in those] for name, those in turns.items()}
    first = entries[0].name
    peers = [entry.name for entry in entries if entry.peer]
    best = min(peers, key=lambda name: statistics.median(walls[name]), default=None)
    references: dict[str, Entry] = {}
    rows = []
    for entry in entries:
        latency = statistics.median(walls[entry.name])
        reference = references.setdefault(entry.weights, entry)
        rows.append(
            Row(
                name=entry.name,
                precision=entry.precision,
                peer=entry.peer,
                latency=latency,
                clips_per_second=config.batch / latency,
                cpu=statistics.median(cpus[entry.name]),
                peak_memory=max(turn.peak for turn in turns[entry.name]),
                difference=None if reference is entry else _difference(entry, reference),
                speedup=median_ratio(walls[first], walls[entry.name]),
                speedup_over_best=(
                    None if best is None else median_ratio(walls[best], walls[entry.name])
                ),
                cpu_speedup=median_ratio(cpus[first], cpus[entry.name]),
            )
        )
    return rows


def _difference(entry: Entry, reference: Entry) -> float | None:
    if entry.logits is None or reference.logits is None:
        return None
    paths = (reference.logits, entry.logits)
    expected, ours = (np.load(path, allow_pickle=False) for path in paths)
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def format_table(config: BenchmarkConfig, rows: Sequence[Row]) -> str:
    """The rows as Markdown, under a line that says what was measured and where."""
    what = "training step" if config.training else "inference"
    lines = [
        f"{config.backbone}, {what}, {config.batch} x {config.clip}, medians of {config.rounds} "
        f"rounds, {machine()}",
        "",
        "| network | latency | clips/s | processor time | peak memory | times as fast as the first "
        "| as the best peer | by processor time | logits differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over_best = "" if row.speedup_over_best is None else f"{row.speedup_over_best:.2f}"
        difference = "" if row.difference is None else f"{row.difference:.1e}"
        lines.append(
            f"| {row.name} | {1e3 * row.latency:.0f} ms | {row.clips_per_second:.2f} "
            f"| {1e3 * row.cpu:.0f} ms | {row.peak_memory / 2**30:.2f} GiB "
            f"| {row.speedup:.2f} | {over_best} | {row.cpu_speedup:.2f} | {difference} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """The processor, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.is_file():  # Linux
        lines = cpuinfo.read_text().splitlines()
        names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
        model = names[0].strip() if names else model
    return f"{os.cpu_count()} cores of {model}"
