"""The contenders of a benchmark, and how each is started."""

from __future__ import annotations

import functools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.benchmark.config import BenchmarkConfig
from perfnet_tf.benchmark.runtime_files import FAILURES_FILE
from perfnet_tf.benchmark.runtimes import Runtime, installed_runtimes
from perfnet_tf.errors import InputError

_HERE = pathlib.Path(__file__)


@dataclass(frozen=True)
class Entry:
    """One contender: what the table calls it and how it is started.

    Attributes:
        name: unique in its table.
        precision: of `PRECISIONS`.
        peer: whether others wrote the network.
        weights: contenders with the same have the same logits, but for rounding.
        command: starts its process; what it writes there is its `logits` file.
        logits: that file, or None for training.
        prepare: makes what the process reads; is called before it starts.
    """

    name: str
    precision: str
    peer: bool
    weights: str
    command: tuple[str, ...]
    logits: pathlib.Path | None
    prepare: Callable[[], None] = lambda: None


def list_entries(config: BenchmarkConfig, folder: pathlib.Path) -> list[Entry]:
    """The contenders, peers first; they keep weights, files and logits in `folder`."""
    return _Entries(config, folder).listed()


class _Entries:
    """Collects entries; see `list_entries`."""

    def __init__(self, config: BenchmarkConfig, folder: pathlib.Path) -> None:
        self._config = config
        self._folder = folder
        self._entries: list[Entry] = []
        self._common: dict[str, Any] = {
            "shape": config.shape,
            "threads": config.threads,
            "num_classes": config.num_classes,
            "training": config.training,
        }

    def listed(self) -> list[Entry]:
        config, folder = self._config, self._folder
        weights, source, same = None, None, config.backbone
        if config.backbone == "r3d50_g" and config.peers:
            weights, source = str(folder / "garden"), "model_garden_r3d50"
            self._add_garden(weights)
        elif config.backbone == "s3d_g" and config.peers and config.torch_python is not None:
            weights, source, same = str(folder / "s3d.safetensors"), "torchvision_s3d", "s3d"
            self._add_torchvision(config.torch_python, weights)
        networks = ["keras"] if config.training else ["keras", "folded"]
        own = None if same == "s3d" else weights
        self._add_own(config.backbone, own, source, networks)
        if same == "s3d":  # torchvision's has no gates: its weights are compared without
            self._add_own("s3d", weights, source, ["folded"])
        if config.runtimes and not config.training:
            self._add_runtimes(config.backbone, own, source)
        return self._entries

    def _add(
        self,
        name: str,
        precision: str,
        start: Sequence[str],
        *,
        peer: bool,
        prepare: Callable[[], None] | None = None,
        **spec: Any,
    ) -> None:
        logits = self._folder / f"logits{len(self._entries)}.npy"
        text = json.dumps({**self._common, **spec, "precision": precision, "logits": str(logits)})
        entry = Entry(
            f"{name}, {precision}",
            precision,
            peer,
            spec["weights"] or spec["backbone"],
            (*start, text),
            None if self._config.training else logits,
            *([prepare] if prepare else []),
        )
        self._entries.append(entry)

    def _add_garden(self, weights: str) -> None:
        for precision in self._config.float_precisions:
            self._add(
                "Model Garden ResNet3D", precision, _module("tensorflow_contender"),
                peer=True, network="model_garden", weights=weights,
            )  # fmt: skip

    def _add_torchvision(self, python: str, weights: str) -> None:
        for precision in self._config.float_precisions:
            for channels_last in (False, True):
                layout = ", channels last" if channels_last else ""
                self._add(
                    f"torchvision s3d{layout}", precision, _script("torch_contender", python),
                    peer=True, weights=weights, channels_last=channels_last,
                )  # fmt: skip

    def _add_own(
        self, backbone: str, weights: str | None, source: str | None, networks: Sequence[str]
    ) -> None:
        for network in networks:
            for precision in self._config.float_precisions:
                self._add(
                    f"perfnet {backbone}, {network}", precision, _module("tensorflow_contender"),
                    peer=False, network=network, backbone=backbone, weights=weights, source=source,
                )  # fmt: skip

    def _add_runtimes(self, backbone: str, weights: str | None, source: str | None) -> None:
        runtimes = installed_runtimes(self._config.precisions)
        network = {
            "network": "folded", "precision": "float32",
            "backbone": backbone, "weights": weights, "source": source,
        }  # fmt: skip
        formats = list(dict.fromkeys(runtime.format for runtime in runtimes))
        spec = {**self._common, **network, "folder": str(self._folder), "formats": formats}
        write = functools.cache(functools.partial(_write_files, spec))
        for runtime in runtimes:
            self._add(
                f"perfnet {backbone} in {runtime.name}", runtime.precision,
                _script("runtime_contender", sys.executable),
                peer=False, runtime=runtime.key, backbone=backbone, weights=weights,
                file=str(self._folder / "files" / runtime.file),
                prepare=functools.partial(_require, runtime, write),
            )  # fmt: skip


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"perfnet_tf.benchmark.{name}"]


def _script(name: str, python: str) -> list[str]:
    return [python, str(_HERE.with_name(f"{name}.py"))]


def _write_files(spec: dict[str, Any]) -> dict[str, str]:
    """Writes the runtimes' files; returns why those that failed did."""
    command = [*_module("runtime_files"), json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    failures = pathlib.Path(spec["folder"]) / FAILURES_FILE
    if done.returncode or not failures.exists():
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise InputError(f"The runtimes' files could not be written: {said[-1][:300]}.")
    found: dict[str, str] = json.loads(failures.read_text())
    return found


def _require(runtime: Runtime, write: Callable[[], dict[str, str]]) -> None:
    """Writes the files when the first of the runtimes is about to start.

    Raises:
        InputError: this runtime's could not be written.
    """
    reason = write().get(runtime.file)
    if reason is not None:
        raise InputError(f"{runtime.file} could not be written: {reason[:300]}.")
