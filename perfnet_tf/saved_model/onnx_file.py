"""Frozen networks as ONNX files."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.frozen_graph import INPUT, OUTPUTS, output_name
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.onnx_portability import make_portable
from perfnet_tf.streams import LOGITS
from perfnet_tf.version import __version__

#: 3-D pooling and every operation here are in it since 2021.
ONNX_OPSET = 15
#: Of `tf2onnx.optimizer`, in its order: what changes graphs of convolutions. Not
#: `GlobalPoolOptimizer`, which turns the means of gates into `GlobalAveragePool`: OpenCV 5.0
#: refuses that for videos.
_OPTIMIZERS = (
    "TransposeOptimizer",
    "ConstFoldOptimizer",
    "MergeDuplicatedNodesOptimizer",
    "ReshapeOptimizer",
    "IdentityOptimizer",
    "BackToBackOptimizer",
)


def write_onnx(conversion: Conversion) -> None:
    """Writes an ONNX file of a frozen float32 network, for clips of any number, length and size.

    `frames`, float32 `[batch, frames, height, width, channels]`, to `logits` and `features`.
    """
    from tf2onnx import optimizer
    from tf2onnx.tfonnx import process_tf_graph

    # Converted without its weights, as more inputs: tf2onnx keeps dozens of copies of constants.
    network = conversion.network
    names = {f"{output_name(name)}:0": name for name in OUTPUTS}
    with tf.Graph().as_default() as graph:
        weights = {
            f"{name}:0": tf.compat.v1.placeholder(value.dtype, value.shape, name)
            for name, value in network.weights.items()
        }
        tf.import_graph_def(network.graph, weights, name="")
        converted = process_tf_graph(
            graph,
            opset=ONNX_OPSET,
            input_names=[f"{INPUT}:0", *weights],
            output_names=list(names),
            tensors_to_rename={f"{INPUT}:0": "frames", **names},
        )
    # `tf2onnx.convert` would catch errors, which takes a copy of the graph for each optimiser.
    kinds = {name: getattr(optimizer, name) for name in _OPTIMIZERS}
    optimized = optimizer.optimize_graph(converted, catch_errors=False, optimizers=kinds)
    model = optimized.make_model(f"perfnet_tf {__version__}")
    _set_weights(
        model.graph, {f"{name}:0": value.numpy() for name, value in network.weights.items()}
    )
    make_portable(model.graph)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for name, size in zip(("batch", "num_frames", "height", "width"), sizes, strict=False):
        size.dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    conversion.path.write_bytes(model.SerializeToString())


def _set_weights(graph: Any, weights: Mapping[str, np.ndarray]) -> None:
    """Turns inputs of an ONNX graph into constants, and transposed ones into transposed constants.

    Args:
        graph: changed.
        weights: by the name of the input.
    """
    from onnx import numpy_helper

    constants = dict(weights)
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        if node.input[0] in weights:
            (axes,) = (attribute.ints for attribute in node.attribute if attribute.name == "perm")
            constants[node.output[0]] = weights[node.input[0]].transpose(axes)
            graph.node.remove(node)
    for value in [value for value in graph.input if value.name in weights]:
        graph.input.remove(value)
    used = {name for node in graph.node for name in node.input}
    for name in sorted(used & constants.keys()):
        constant = numpy_helper.from_array(np.ascontiguousarray(constants[name]), name)
        graph.initializer.append(constant)


def open_onnx(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime's function from float32 frames to float32 logits `[batch, classes]`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda frames: np.asarray(session.run([LOGITS], {"frames": frames})[0])
