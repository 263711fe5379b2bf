"""Frozen networks as ONNX files."""

from __future__ import annotations

import pathlib

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.installed import missing_modules
from perfnet_tf.recognizers.frozen import INPUT, OUTPUTS, output_name
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.streams import LOGITS
from perfnet_tf.version import __version__

#: 3-D pooling and every operation here are in it since 2021.
ONNX_OPSET = 15


def write_onnx(conversion: Conversion) -> None:
    """Writes an ONNX file of a frozen float32 network, for clips of any number, length and size.

    `frames`, float32 `[batch, frames, height, width, channels]`, to `logits` and `features`.
    """
    from tf2onnx.optimizer import optimize_graph
    from tf2onnx.tfonnx import process_tf_graph

    names = {f"{output_name(name)}:0": name for name in OUTPUTS}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(conversion.graph, name="")
        converted = process_tf_graph(
            graph,
            opset=ONNX_OPSET,
            input_names=[f"{INPUT}:0"],
            output_names=list(names),
            tensors_to_rename={f"{INPUT}:0": "frames", **names},
        )
    # `tf2onnx.convert` would catch errors, and keep a copy of the whole graph for each of a dozen
    # optimisers to do so: 22 GB for a network of 200 MB.
    model = optimize_graph(converted, catch_errors=False).make_model(f"perfnet_tf {__version__}")
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for name, size in zip(("batch", "num_frames", "height", "width"), sizes, strict=False):
        size.dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    conversion.path.write_bytes(model.SerializeToString())


def run_onnx(path: pathlib.Path, frames: np.ndarray) -> np.ndarray:
    """Logits float32 `[batch, classes]` of an ONNX file for float32 `frames`, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([LOGITS], {"frames": frames})[0])


def require_onnx() -> None:
    """Raises InputError where what `write_onnx` and `run_onnx` need is not installed."""
    missing = missing_modules("onnx", "onnxruntime", "tf2onnx")
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, not installed here. Run pip install "
            "'perfnet-tf[onnx]'."
        )
