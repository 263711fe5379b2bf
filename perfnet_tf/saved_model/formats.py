"""The files of other runtimes that an export can hold, a row for each format."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from perfnet_tf.saved_model.conversion import Format
from perfnet_tf.saved_model.onnx_file import require_onnx, run_onnx, write_onnx
from perfnet_tf.saved_model.tflite import TFLITE_WEIGHTS, run_tflite, write_tflite

#: Format -> its files. Each format is written in a process of its own, its files in this order.
FORMATS: Mapping[str, tuple[Format, ...]] = {
    "tflite": tuple(
        Format(
            f"model_{weights}.tflite", functools.partial(write_tflite, weights=weights), run_tflite
        )
        for weights in TFLITE_WEIGHTS
    ),
    "onnx": (Format("model.onnx", write_onnx, run_onnx, require_onnx),),
}
