"""An exported file in the runtime that reads it, as a contender. Runs without TensorFlow.

    python runtime_contender.py '{"runtime": "openvino", "file": "model.onnx", ...}'

The specification: `runtime`: of `OPEN`; `file`; `precision`: `float32`, `bfloat16`, or `int8` of a
quantised file; `shape` of the clip whose logits are written to the file `logits`; `threads` (0: the
runtime's own choice).
"""

from __future__ import annotations

import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from collections.abc import Callable
from typing import Any

import numpy as np
import protocol

Run = Callable[[np.ndarray], np.ndarray]


def open_litert(spec: dict[str, Any]) -> Run:
    """LiteRT with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    threads = spec["threads"] or os.cpu_count()
    runner = Interpreter(spec["file"], num_threads=threads).get_signature_runner()
    return lambda clip: np.asarray(runner(frames=clip)["logits"])


def open_onnxruntime(spec: dict[str, Any]) -> Run:
    """ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = spec["threads"]
    session = onnxruntime.InferenceSession(spec["file"], options, ["CPUExecutionProvider"])
    return lambda clip: np.asarray(session.run(["logits"], {"frames": clip})[0])


def open_openvino(spec: dict[str, Any]) -> Run:
    """OpenVINO on the CPU, compiled for the one size."""
    import openvino

    core = openvino.Core()
    model = core.read_model(spec["file"])
    model.reshape([*spec["shape"], 3])
    hint = "bf16" if spec["precision"] == "bfloat16" else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    if spec["threads"]:
        settings["INFERENCE_NUM_THREADS"] = spec["threads"]
    compiled = core.compile_model(model, "CPU", settings)
    return lambda clip: np.array(compiled([clip])["logits"])


def open_torch(spec: dict[str, Any]) -> Run:
    """torch, converted by onnx2torch."""
    import onnx2torch
    import torch

    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    model = onnx2torch.convert(spec["file"]).eval()

    def run(clip: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(clip))
        # Features and logits, in the file's order.
        return np.asarray(outputs[-1].numpy())

    return run


#: What `runtime` names.
OPEN = {
    "litert": open_litert,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "torch": open_torch,
}


def main(spec: dict[str, Any]) -> None:
    """Opens the file as `spec` says, then answers."""
    run = OPEN[spec["runtime"]](spec)
    np.save(spec["logits"], run(protocol.example_clip(spec["shape"])))
    protocol.serve(run)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
