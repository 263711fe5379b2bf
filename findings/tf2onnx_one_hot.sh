#!/usr/bin/env bash
# tf2onnx 1.17.0 on tf.one_hot of TensorFlow 2.21.0 (the CPU build), with onnxruntime 1.32.0;
# ai-edge-litert 2.3.0 and OpenVINO 2026.4.1 for comparison.
#
# One would expect: an index of -1, with which a missing keypoint, an ignored label or an empty slot is
# marked, has no one: tf.one_hot documents a row of zeros. Seen: ONNX's OneHot counts negative indices
# from the end, and tf2onnx passes them on, at every opset. A missing keypoint is drawn in the last
# column, an ignored frame votes for the last class. Nothing warns, and indices beyond the other end
# still give zeros. LiteRT and OpenVINO's own reader of TensorFlow are right. Indices below 0 set to
# the depth before tf.one_hot give zeros everywhere.
#
# Seen:
#   TensorFlow 2.21.0, tf2onnx 1.17.0, onnxruntime 1.32.0, OpenVINO 2026.4.1
#   rows of the indices 0 -1 3 -4 4 where the depth is 4
#   TensorFlow: 1000 0000 0001 0000 0000
#   LiteRT: 1000 0000 0001 0000 0000
#   OpenVINO: 1000 0000 0001 0000 0000
#   ONNX of opset 11: 1000 0001 0001 1000 0000
#   ONNX of opset 18: 1000 0001 0001 1000 0000
#   ONNX of opset 18, negative indices replaced by 4: 1000 0000 0001 0000 0000
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1 \
  ai-edge-litert==2.3.0
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import sys

import numpy as np
import onnxruntime
import openvino
import tensorflow as tf
import tf2onnx
from ai_edge_litert.interpreter import Interpreter

print(
    f"TensorFlow {tf.__version__}, tf2onnx {tf2onnx.__version__}, onnxruntime {onnxruntime.__version__}, "
    f"OpenVINO {openvino.__version__.split('-')[0]}"
)
DEPTH = 4
indices = np.array([0, -1, 3, -4, 4], np.int32)
signature = [tf.TensorSpec(indices.shape, tf.int32, "indices")]


def plain(indices):
    return tf.one_hot(indices, DEPTH)


def replaced(indices):
    return tf.one_hot(tf.where(indices < 0, DEPTH, indices), DEPTH)


def litert(function):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], indices)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def onnx(opset):
    def run(function):
        model, _ = tf2onnx.convert.from_function(function, signature, opset=opset)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"indices": indices})[0]

    return run


runs = {
    "TensorFlow": (plain, lambda function: function(indices).numpy()),
    "LiteRT": (plain, litert),
    "OpenVINO": (
        plain,
        lambda function: openvino.compile_model(openvino.convert_model(function), "CPU")([indices])[0],
    ),
    "ONNX of opset 11": (plain, onnx(11)),
    "ONNX of opset 18": (plain, onnx(18)),
    f"ONNX of opset 18, negative indices replaced by {DEPTH}": (replaced, onnx(18)),
}
print("rows of the indices", *indices, "where the depth is", DEPTH)
seen = {}
for name, (function, run) in runs.items():
    rows = run(tf.function(function, input_signature=signature, autograph=False))
    seen[name] = " ".join("".join(str(int(value)) for value in row) for row in rows)
    print(f"{name}: {seen[name]}")
right, wrapped = "1000 0000 0001 0000 0000", "1000 0001 0001 1000 0000"
sys.exit(
    any(rows != (wrapped if name.endswith(("11", "18")) else right) for name, rows in seen.items())
)
PYTHON
