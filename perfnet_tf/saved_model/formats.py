"""The files of other runtimes that an export can hold, a row for each format."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from perfnet_tf.installed import missing_modules
from perfnet_tf.saved_model.conversion import Format
from perfnet_tf.saved_model.int8_openvino import open_openvino, write_int8_openvino
from perfnet_tf.saved_model.int8_tflite import write_int8_tflite
from perfnet_tf.saved_model.onnx_file import open_onnx, write_onnx
from perfnet_tf.saved_model.tflite import TFLITE_WEIGHTS, open_tflite, write_tflite

#: Format -> its files. Each format is written in a process of its own, its files in this order.
FORMATS: Mapping[str, tuple[Format, ...]] = {
    "tflite": tuple(
        Format(
            f"model_{weights}.tflite", functools.partial(write_tflite, weights=weights), open_tflite
        )
        for weights in TFLITE_WEIGHTS
    ),
    "onnx": (
        Format("model.onnx", write_onnx, open_onnx, ("onnx", "onnxruntime", "tf2onnx"), "onnx"),
    ),
    "int8": (Format("model_full_int8.tflite", write_int8_tflite, open_tflite),),
    "int8_openvino": (
        Format(
            "model_full_int8.xml",
            write_int8_openvino,
            open_openvino,
            ("nncf", "openvino"),
            "openvino",
        ),
    ),
}
#: Formats whose ranges are measured on calibration clips.
CALIBRATED = ("int8", "int8_openvino")


def is_available(name: str) -> bool:
    """Whether everything that a format needs is installed."""
    return not any(missing_modules(*entry.modules) for entry in FORMATS[name])
