"""Compiles a train step for TPUs, and searches for the largest batch that fits."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.config import ClipConfig
from perfnet_tf.distill.distiller import Distiller
from perfnet_tf.errors import InputError
from perfnet_tf.installed import missing_modules
from perfnet_tf.tpu_check.chips import Chip, chip_named
from perfnet_tf.tpu_check.lowering import LoweredStep, batch_specs, lower_step

GIB = 2**30
#: The search ends here.
MAX_BATCH_PER_CORE = 1024

#: How compilers say that a program needs more memory than there is.
_LACKS = (
    r"Used ([\d.]+)([KMGT]) of [\d.]+[KMGT] hbm",
    r"memory required for [^()]*\(([\d.]+)([KMGT])\) exceeds available HBM",
)


@dataclass(frozen=True)
class StepReport:
    """What a TPU's compiler says of a train step.

    Attributes:
        chip: compiled for.
        batch_per_core: clips on a core.
        fits: whether it compiled.
        error: why it did not; the compiler's words, or empty.
        needed_gib: what it would need where memory was what lacked, else None.
        host_ops: operations that cannot run on the device, named.
        dynamic_shapes: operations whose results' sizes are not known before they run, named.
        arguments_gib: variables and batch.
        temporaries_gib: everything else that the step keeps at once, activations above all.
        total_gib: both, the program, and results that overwrite no argument.
        batch_gib: the batch alone, sent for every step.
        tflop: 10^12 operations a step, as compiled.
        gb_moved: 10^9 bytes that operations read and write, as compiled.
        compile_seconds: spent compiling.
        traffic: what moves most, as `traffic.as_json` has it; None where it was not asked for.
    """

    chip: Chip
    batch_per_core: int
    fits: bool
    error: str = ""
    needed_gib: float | None = None
    host_ops: tuple[str, ...] = ()
    dynamic_shapes: tuple[str, ...] = ()
    arguments_gib: float = 0.0
    temporaries_gib: float = 0.0
    total_gib: float = 0.0
    batch_gib: float = 0.0
    tflop: float = 0.0
    gb_moved: float = 0.0
    compile_seconds: float = 0.0
    traffic: Mapping[str, Any] | None = None

    @property
    def used_gib(self) -> float | None:
        """What it takes, or would take; None where something else than memory was in the way."""
        return self.total_gib if self.fits else self.needed_gib

    @property
    def arithmetic_ms(self) -> float:
        """Milliseconds of arithmetic at the chip's peak."""
        return 1e3 * self.tflop / self.chip.peak_tflops

    @property
    def memory_ms(self) -> float:
        """Milliseconds of memory traffic at the chip's bandwidth."""
        return 1e3 * self.gb_moved / self.chip.bandwidth_gb

    @property
    def roofline_ms(self) -> float:
        """An estimate, not a measurement: a step cannot be faster than the slower of the two.

        It counts traffic that a chip's on-chip memory may spare, and does not include waiting.
        """
        return max(self.arithmetic_ms, self.memory_ms)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        values = {name: value for name, value in vars(self).items() if name != "chip"}
        values["host_ops"], values["dynamic_shapes"] = (
            list(self.host_ops),
            list(self.dynamic_shapes),
        )
        rate = 1e3 * self.batch_per_core / self.roofline_ms if self.roofline_ms else None
        return {
            "chip": self.chip.name,
            "memory_gib": self.chip.memory_gib,
            **values,
            "roofline_estimate": {
                "arithmetic_ms": self.arithmetic_ms,
                "memory_ms": self.memory_ms,
                "step_ms": self.roofline_ms,
                "clips_per_second_per_core": rate,
            },
        }


class StepChecker:
    """Checks the train step of one distiller at several batches and on several chips."""

    def __init__(
        self,
        distiller: Distiller,
        clip: ClipConfig,
        *,
        top: int = 0,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Makes a checker.

        Args:
            distiller: compiled, its optimizer built.
            clip: what it trains on.
            top: layers and results to name in `StepReport.traffic`, the largest first.
            say: called with each status line.

        Raises:
            InputError: jax or libtpu are not installed.
        """
        require_compiler()
        self._distiller, self._clip, self._top, self._say = distiller, clip, top, say
        self._lowered: dict[int, LoweredStep] = {}
        self._reports: dict[tuple[str, int], StepReport] = {}

    def check(self, chip: str, batch_per_core: int) -> StepReport:
        """Compiles the step for one core of `chip`.

        Raises:
            InputError: an unknown chip, or a batch that is not greater than 0.
        """
        if batch_per_core < 1:
            raise InputError(f"batch_per_core must be greater than 0. Received: {batch_per_core}.")
        key = (chip, batch_per_core)
        if key not in self._reports:
            self._reports[key] = self._compile(chip_named(chip), batch_per_core)
        return self._reports[key]

    def largest(self, chip: str, start: int) -> StepReport | None:
        """The report of the largest batch a core that fits; None if not even 1 does.

        Args:
            chip: name of the chip.
            start: the batch to try first, unless another chip's reports suggest a better one.

        Raises:
            InputError: as `check`, or a step that fits at no batch because of what it does.
        """
        start = predict_largest(self._reports.values(), chip_named(chip).memory_gib) or start
        return search_largest(lambda batch: self.check(chip, batch), start)

    def _compile(self, chip: Chip, batch: int) -> StepReport:
        if batch not in self._lowered:
            self._say(f"{batch} clips per core: lowering the step")
            specs = batch_specs(self._distiller.streams, self._clip, batch)
            self._lowered[batch] = lower_step(self._distiller, specs)
        step = self._lowered[batch]
        if step.host_ops:
            error = "The step has operations that only a host can run."
            return StepReport(chip, batch, False, error, host_ops=step.host_ops)
        self._say(f"{batch} clips per core: compiling for {chip.name}, which can take minutes")
        result = _run_compiler(step.hlo, chip.topology, self._top)
        report = _report(chip, batch, step, result)
        self._say(
            f"{batch} clips per core: "
            + (
                f"{report.total_gib:.2f} GiB on {chip.name}, compiled in "
                f"{report.compile_seconds:.0f} s"
                if report.fits
                else f"not on {chip.name}: {report.error.splitlines()[0][:200]}"
            )
        )
        return report


def search_largest(check: Callable[[int], StepReport], start: int) -> StepReport | None:
    """The largest batch that fits, in few checks, since each takes minutes.

    Args:
        check: the report of a batch; larger batches need more.
        start: the batch to try first.

    Returns:
        Its report, or None if not even 1 fits.

    Raises:
        InputError: a batch fails for another reason than memory.
    """
    reports: list[StepReport] = []
    best, too_large, batch = None, MAX_BATCH_PER_CORE + 1, start
    for attempt in range(2 * MAX_BATCH_PER_CORE.bit_length()):
        report = check(batch)
        reports.append(report)
        if report.fits:
            best = report
        elif report.needed_gib is None:
            raise InputError(f"The step does not compile at any batch: {report.error}")
        else:
            too_large = batch
        fitting = best.batch_per_core if best else 0
        if too_large - fitting == 1:
            return best
        guess = predict_largest(reports, report.chip.memory_gib) or 2 * batch
        if attempt >= 4:  # the compiler trades time for memory, which misleads the estimate
            guess = 2 * fitting if too_large > MAX_BATCH_PER_CORE else (fitting + too_large) // 2
        batch = min(max(guess, fitting + 1), too_large - 1)
    return best


def predict_largest(reports: Iterable[StepReport], memory_gib: float) -> int | None:
    """The largest batch that should fit into a memory: what a step takes is nearly affine in it.

    Args:
        reports: of the same step at other batches, on any chip.
        memory_gib: of a core.

    Returns:
        1 to `MAX_BATCH_PER_CORE`, or None if the reports do not say.
    """
    known = [(report.batch_per_core, report.used_gib) for report in reports if report.used_gib]
    if not known:
        return None
    batch, used = min(known, key=lambda point: abs(point[1] - memory_gib))
    # Through the origin, until there are two points.
    slope = used / batch
    others = [point for point in known if (point[0] - batch) * (point[1] - used) > 0]
    if others:
        other, its_use = min(others, key=lambda point: abs(point[1] - memory_gib))
        slope = (its_use - used) / (other - batch)
    guess = math.floor(batch + (memory_gib - used) / slope)
    return min(max(guess, 1), MAX_BATCH_PER_CORE)


def _run_compiler(hlo: bytes, topology: str, top: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="perfnet-tpu-check-") as name:
        folder = pathlib.Path(name)
        (folder / "step.hlo").write_bytes(hlo)
        worker = subprocess.run(
            [sys.executable, "-m", "perfnet_tf.tpu_check.compile_worker"]
            + [str(folder / "step.hlo"), topology, str(folder / "result.json"), str(top)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        if (folder / "result.json").exists():
            return dict(json.loads((folder / "result.json").read_text()))
    tail = " ".join(worker.stderr.split()[-60:])
    return {"error": f"The compiler ended with status {worker.returncode}: {tail}"}


def _report(chip: Chip, batch: int, step: LoweredStep, result: dict[str, Any]) -> StepReport:
    found: dict[str, Any] = {
        "host_ops": tuple(result.get("host_calls", ())),
        "dynamic_shapes": tuple(result.get("dynamic_shapes", ())),
        "batch_gib": step.batch_bytes / GIB,
    }
    if result["error"] is not None:
        needed = needed_gib(result["error"])
        return StepReport(chip, batch, False, result["error"], needed, **found)
    arguments, temporaries = result["arguments"], result["temporaries"]
    outputs = result["outputs"] - result["aliased"]
    return StepReport(
        chip,
        batch,
        True,
        arguments_gib=arguments / GIB,
        temporaries_gib=temporaries / GIB,
        total_gib=(arguments + temporaries + outputs + result["code"]) / GIB,
        tflop=result["flops"] / 1e12,
        gb_moved=result["bytes_moved"] / 1e9,
        compile_seconds=result["seconds"],
        traffic=result.get("traffic"),
        **found,
    )


def needed_gib(error: str) -> float | None:
    """What a program needs, GiB, from the compiler's words that it has not got it; else None.

    Of a step that needs far more than there is the compiler counts the temporaries only.
    """
    match = next((found for words in _LACKS if (found := re.search(words, error))), None)
    if match is None:
        return None
    return float(match[1]) * {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 2**10}[match[2]]


def require_compiler() -> None:
    """Raises `InputError` unless jax and libtpu are installed."""
    missing = missing_modules("jax", "libtpu")
    if missing:
        raise InputError(
            f"Compiling for a TPU needs jax and libtpu. Missing: {', '.join(missing)}. "
            "pip install 'perfnet-tf[tpu-check]' brings both, on x86-64 Linux."
        )


def check_chips(names: Sequence[str]) -> None:
    """Raises `InputError` unless each is a chip, before minutes are spent on the first."""
    for name in names:
        chip_named(name)
