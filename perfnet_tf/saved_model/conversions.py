"""Writes the files of other runtimes, each format in a process that ends with it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.frozen_graph import frozen_graph
from perfnet_tf.saved_model.conversion import clip_file
from perfnet_tf.saved_model.formats import FORMATS
from perfnet_tf.saved_model.golden import golden_clip


@dataclasses.dataclass(frozen=True)
class Conversions:
    """What became of the files.

    Attributes:
        parity: file written -> how far its logits are off; see `ModelInfo`.
        failures: file that could not be written -> why, in one line.
    """

    parity: Mapping[str, float]
    failures: Mapping[str, str]


def write_formats(
    model: VideoModel,
    folder: pathlib.Path,
    sizes: Mapping[str, Sequence[Sequence[int]]],
    options: Mapping[str, Any] | None = None,
) -> Conversions:
    """Writes a built model's files of other runtimes into `folder`, one after the other.

    Args:
        model: not changed.
        folder: exists.
        sizes: name of `FORMATS` -> `[batch, frames, height, width, channels]` of the clips that
            files of fixed sizes take, and that parity, the largest difference, is measured on.
        options: see `Conversion`.
    """
    results: dict[str, dict[str, Any]] = {}
    # In the export's own folder: in memory-backed /tmp the graph would count as memory.
    with tempfile.TemporaryDirectory(prefix=".conversion-", dir=folder.parent) as temporary:
        workspace = pathlib.Path(temporary)
        _prepare(model, workspace, {tuple(shape) for shapes in sizes.values() for shape in shapes})
        request = {
            "folder": str(folder.absolute()),
            "shapes": {name: [[*shape] for shape in shapes] for name, shapes in sizes.items()},
            "options": options or {},
        }
        (workspace / "request.json").write_text(json.dumps(request))
        for name in sizes:
            results |= _convert(workspace, name)
    for file, result in results.items():
        if "error" in result:
            (folder / file).unlink(missing_ok=True)
    return Conversions(
        {file: result["parity"] for file, result in results.items() if "parity" in result},
        {file: result["error"] for file, result in results.items() if "error" in result},
    )


def _prepare(model: VideoModel, workspace: pathlib.Path, shapes: Iterable[tuple[int, ...]]) -> None:
    frozen_graph(model, "float32").save(workspace)
    for shape in shapes:
        frames = golden_clip(model.stream, shape)
        if frames.dtype == np.uint8:
            frames = frames / np.float32(255)
        logits = model(frames, training=False).numpy()
        np.savez(workspace / clip_file(shape), frames=frames, logits=logits)


def _convert(workspace: pathlib.Path, name: str) -> dict[str, dict[str, Any]]:
    """File of a format -> `parity`, or `error`."""
    result = workspace / "result.json"
    result.unlink(missing_ok=True)
    worker = subprocess.run(
        [sys.executable, "-m", "perfnet_tf.saved_model.conversion_worker", str(workspace), name],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TF_USE_LEGACY_KERAS": "1",
            "CUDA_VISIBLE_DEVICES": "-1",  # this process may hold all of a GPU's memory
        },
    )
    finished = json.loads(result.read_text()) if result.exists() else {}
    if worker.returncode == -signal.SIGKILL:
        reason = "its process was killed, as systems do that run out of memory"
    else:
        last = (worker.stderr.strip().splitlines() or [""])[-1][:300]
        reason = f"its process ended with status {worker.returncode}: {last}"
    return {entry.file: finished.get(entry.file, {"error": reason}) for entry in FORMATS[name]}
