"""Folded networks in the formats of other runtimes: TFLite and ONNX."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.installed import missing_modules
from perfnet_tf.recognizers.frozen import OUTPUTS
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.streams import LOGITS

#: What weights are stored as. `int8` is dynamic-range: activations are quantised as they come.
TFLITE_WEIGHTS = ("float32", "float16", "int8")

#: 3-D pooling and every operation here are in it since 2021.
ONNX_OPSET = 15


def convert_to_tflite(network: Any, shape: Sequence[int], weights: str) -> bytes:
    """A TFLite model of a frozen float32 network.

    Its signature `serving_default` takes `frames`, float32 of `shape`, and gives `logits` and
    `features`. Every operation is 2-D: TFLite's Conv3D is neither quantised nor accelerated.

    Args:
        network: what `freeze` gave.
        shape: `[batch, frames, height, width, channels]`; TFLite models are fast at one size only.
        weights: one of `TFLITE_WEIGHTS`.
    """
    module = tf.Module()

    @tf.function(autograph=False)
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(OUTPUTS, replay_planar(network, frames), strict=True))

    module.serve = serve
    concrete = serve.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="frames"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with _quiet():
        return bytes(converter.convert())


def run_tflite(model: bytes, frames: np.ndarray) -> np.ndarray:
    """Logits float32 `[batch, classes]` of a TFLite model for float32 `frames`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter has moved to its own package
        interpreter = tf.lite.Interpreter(model_content=model, num_threads=2)
    return np.asarray(interpreter.get_signature_runner()(frames=frames)[LOGITS])


def convert_to_onnx(network: Any) -> bytes:
    """An ONNX model of a frozen float32 network, for clips of any number, length and size.

    `frames`, float32 `[batch, frames, height, width, channels]`, to `logits` and `features`.

    Raises:
        InputError: see `require_onnx`.
    """
    require_onnx()
    import tf2onnx

    inputs = network.inputs[0]
    spec = tf.TensorSpec(inputs.shape, inputs.dtype, name="frames")

    @tf.function(autograph=False, input_signature=[spec])
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(OUTPUTS, network(frames), strict=True))

    with _quiet():
        model, _ = tf2onnx.convert.from_function(serve, input_signature=[spec], opset=ONNX_OPSET)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for name, size in zip(("batch", "num_frames", "height", "width"), sizes, strict=False):
        size.dim_param = name
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "batch"
    return bytes(model.SerializeToString())


def run_onnx(model: bytes, frames: np.ndarray) -> np.ndarray:
    """Logits float32 `[batch, classes]` of an ONNX model for float32 `frames`, by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run([LOGITS], {"frames": frames})[0])


def require_onnx() -> None:
    """Raises InputError where what `convert_to_onnx` and `run_onnx` need is not installed."""
    missing = missing_modules("onnx", "onnxruntime", "tf2onnx")
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, not installed here. Run pip install "
            "'perfnet-tf[onnx]'."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' progress on standard output and error."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
