"""Runs the contenders in turns, and what came of it as a table."""

from __future__ import annotations

import functools
import os
import pathlib
import platform
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.benchmark.config import BenchmarkConfig
from perfnet_tf.benchmark.entries import Entry, list_entries
from perfnet_tf.benchmark.turns import Contender, Turn, take_turns
from perfnet_tf.errors import InputError


@dataclass(frozen=True)
class Row:
    """A line of the table; times are of one run of the whole batch.

    Ratios are of the medians, so that no two columns disagree.

    Attributes:
        name, precision, peer: of the contender.
        latency: seconds, the median over rounds.
        fastest: seconds, the least of all rounds: what other work on the machine disturbed least.
        clips_per_second: the batch by the latency.
        cpu: processor seconds, the median.
        peak_memory: bytes, libraries included.
        difference: of the logits from the first contender's with the same weights, as a share of
            its largest; None in training, and for that first one.
        speedup: the first line's latency by this one's.
        speedup_over_best: the fastest peer's latency by this one's; None without peers.
        cpu_speedup: as `speedup`, of processor time.
    """

    name: str
    precision: str
    peer: bool
    latency: float
    fastest: float
    clips_per_second: float
    cpu: float
    peak_memory: int
    difference: float | None
    speedup: float
    speedup_over_best: float | None
    cpu_speedup: float


@dataclass(frozen=True)
class Comparison:
    """What came of a benchmark.

    Attributes:
        rows: of those that ran to the end, in the order of the table.
        failures: name of a contender that did not -> why.
    """

    rows: tuple[Row, ...]
    failures: Mapping[str, str]


def run_benchmark(
    config: BenchmarkConfig, *, progress: Callable[[str], None] = lambda message: None
) -> Comparison:
    """Runs all contenders in turn, peers first.

    A contender that cannot be started, or ends early, is left out; the others are measured.

    Args:
        config: what to measure.
        progress: called with status messages.

    Raises:
        InputError: no contender ran.
    """
    with tempfile.TemporaryDirectory(prefix="perfnet-bench-") as name:
        entries = list_entries(config, pathlib.Path(name))
        progress(f"starting {len(entries)} processes")
        turns: dict[str, list[Turn]] = {entry.name: [] for entry in entries}
        failures: dict[str, str] = {}
        starts = {entry.name: functools.partial(_start, entry) for entry in entries}
        for one, turn in take_turns(starts, config.shape, rounds=config.rounds, failures=failures):
            turns[one].append(turn)
            progress(f"round {len(turns[one])} of {config.rounds}: {one} {turn.wall:.3f} s")
        ran = [entry for entry in entries if entry.name not in failures]
        if not ran:
            reasons = "; ".join(failures.values()) or "none runs in these precisions"
            raise InputError(f"At least one network must run. Received: {reasons}")
        return Comparison(tuple(make_rows(config, ran, turns)), failures)


def _start(entry: Entry) -> Contender:
    entry.prepare()
    return Contender(entry.name, entry.command)


def make_rows(
    config: BenchmarkConfig, entries: Sequence[Entry], turns: Mapping[str, Sequence[Turn]]
) -> list[Row]:
    """What the table says of the turns."""
    latencies = {e.name: statistics.median(turn.wall for turn in turns[e.name]) for e in entries}
    cpus = {e.name: statistics.median(turn.cpu for turn in turns[e.name]) for e in entries}
    first = entries[0].name
    best = min((latencies[entry.name] for entry in entries if entry.peer), default=None)
    references: dict[str, Entry] = {}
    rows = []
    for entry in entries:
        latency, cpu = latencies[entry.name], cpus[entry.name]
        reference = references.setdefault(entry.weights, entry)
        rows.append(
            Row(
                name=entry.name,
                precision=entry.precision,
                peer=entry.peer,
                latency=latency,
                fastest=min(turn.wall for turn in turns[entry.name]),
                clips_per_second=config.batch / latency,
                cpu=cpu,
                peak_memory=max(turn.peak for turn in turns[entry.name]),
                difference=None if reference is entry else _difference(entry, reference),
                speedup=latencies[first] / latency,
                speedup_over_best=None if best is None else best / latency,
                cpu_speedup=cpus[first] / cpu,
            )
        )
    return rows


def _difference(entry: Entry, reference: Entry) -> float | None:
    if entry.logits is None or reference.logits is None:
        return None
    paths = (reference.logits, entry.logits)
    expected, ours = (np.load(path, allow_pickle=False) for path in paths)
    return float(np.abs(ours - expected).max() / np.abs(expected).max())


def format_table(
    config: BenchmarkConfig, rows: Sequence[Row], failures: Mapping[str, str] | None = None
) -> str:
    """The rows as Markdown, under a line that says what was measured and where."""
    what = "training step" if config.training else "inference"
    lines = [
        f"{config.backbone}, {what}, {config.batch} x {config.clip}, medians [minima] of "
        f"{config.rounds} rounds, {machine()}",
        "",
        "| network | latency | clips/s | processor time | peak memory | times as fast as the first "
        "| as the best peer | by processor time | logits differ |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        over_best = "" if row.speedup_over_best is None else f"{row.speedup_over_best:.2f}"
        difference = "" if row.difference is None else f"{row.difference:.1e}"
        lines.append(
            f"| {row.name} | {1e3 * row.latency:.0f} [{1e3 * row.fastest:.0f}] ms "
            f"| {row.clips_per_second:.2f} "
            f"| {1e3 * row.cpu:.0f} ms | {row.peak_memory / 2**30:.2f} GiB "
            f"| {row.speedup:.2f} | {over_best} | {row.cpu_speedup:.2f} | {difference} |"
        )
    for name, reason in (failures or {}).items():
        lines += ["", f"Not measured: {name}. {reason}"]
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
