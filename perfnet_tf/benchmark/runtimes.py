"""The runtimes that read this package's exports, a row for each way of running a file."""

from __future__ import annotations

from dataclasses import dataclass

from perfnet_tf.installed import missing_modules


@dataclass(frozen=True)
class Runtime:
    """A way of running an exported file.

    Attributes:
        name: in the table.
        key: of `runtime_contender.OPEN`.
        precision: what it computes in.
        format: of `saved_model.formats.FORMATS`, which writes the file.
        file: its name.
        modules: what must be installed to write the file and to run it.
    """

    name: str
    key: str
    precision: str
    format: str
    file: str
    modules: tuple[str, ...] = ()


_ONNX = ("onnx", "onnxruntime", "tf2onnx")  # what `perfnet export --onnx` asks for

RUNTIMES = (
    Runtime("LiteRT", "litert", "float32", "tflite", "model_float32.tflite", ("ai_edge_litert",)),
    Runtime("LiteRT", "litert", "int8", "int8", "model_full_int8.tflite", ("ai_edge_litert",)),
    Runtime("onnxruntime", "onnxruntime", "float32", "onnx", "model.onnx", _ONNX),
    Runtime("OpenVINO", "openvino", "float32", "onnx", "model.onnx", ("openvino", *_ONNX)),
    Runtime("OpenVINO", "openvino", "bfloat16", "onnx", "model.onnx", ("openvino", *_ONNX)),
    Runtime(
        "OpenVINO", "openvino", "int8", "int8_openvino", "model_full_int8.xml", ("openvino", "nncf")
    ),
    Runtime("torch", "torch", "float32", "onnx", "model.onnx", ("torch", "onnx2torch", *_ONNX)),
)


def installed_runtimes(precisions: tuple[str, ...]) -> list[Runtime]:
    """Those that can run here, of these precisions."""
    return [
        runtime
        for runtime in RUNTIMES
        if runtime.precision in precisions and not missing_modules(*runtime.modules)
    ]
