"""What a contender's process and its parent say to each other, one JSON object a line.

This file and the contenders import nothing of perfnet_tf that torch's environment lacks: it is
read there as a plain file.

The process says `{"ready": true}` once it is built and has written the logits of the clip it was
given to its `logits` file, if it was named one. To every line `{"shape": [batch, frames, height,
width]}` it answers, after one run on a clip of that shape, `{"wall": seconds, "cpu": seconds,
"peak": bytes}`. At the end of its input it leaves.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

#: Begins the lines that are meant: libraries print, too.
MARK = "@bench "


def example_clip(shape: Sequence[int]) -> np.ndarray:
    """A clip float32 in [0, 1], `[*shape, 3]`: drifting waves, the same for everyone."""
    batch, frames, height, width = shape
    clip, frame, y, x = np.meshgrid(
        *(np.arange(n, dtype=np.float32) for n in shape), indexing="ij", sparse=True
    )
    channels = [
        np.sin(x / (5 + c) + y / (9 - c) + frame * 0.4 + clip + c, dtype=np.float32)
        for c in range(3)
    ]
    return np.stack(channels, axis=-1) * np.float32(0.5) + np.float32(0.5)


def trained_looking(name: str, shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """A value float32 for a variable of this name and shape, as if the network had been trained.

    No layer is silent, and activations neither grow nor fade from layer to layer: what random
    weights do otherwise, and what would hide or swell the differences between logits.
    """
    if len(shape) == 2:
        value = rng.normal(size=shape) * 0.05
    elif len(shape) > 2:
        value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
    elif "gamma" in name:
        value = rng.uniform(0.2, 0.6, shape)
    elif "variance" in name:
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = rng.normal(size=shape) * 0.1
    return np.asarray(value, np.float32)


def write_safetensors(path: str, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes float32 arrays by name as a `.safetensors` file, which is read without torch."""
    table: dict[str, dict[str, Any]] = {}
    position = 0
    for name, value in tensors.items():
        end = position + value.nbytes
        table[name] = {
            "dtype": "F32",
            "shape": list(value.shape),
            "data_offsets": [position, end],
        }
        position = end
    header = json.dumps(table).encode()
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for value in tensors.values():
            file.write(np.asarray(value, "<f4").tobytes())


def serve(run: Callable[[np.ndarray], Any]) -> None:
    """Answers until the end of input; `run(clip)` takes what `example_clip` gives."""
    say({"ready": True})
    clips: dict[tuple[int, ...], np.ndarray] = {}
    for line in sys.stdin:
        shape = tuple(json.loads(line)["shape"])
        if shape not in clips:
            clips = {shape: example_clip(shape)}
        wall, cpu = time.perf_counter(), time.process_time()
        run(clips[shape])
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        say({"wall": wall, "cpu": cpu, "peak": peak_memory()})


def peak_memory() -> int:
    """Bytes that this process held at most."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux getrusage counts what the parent held when it started this process, too.
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def say(message: Mapping[str, Any]) -> None:
    """Sends one message to the parent."""
    print(MARK + json.dumps(message), flush=True)
