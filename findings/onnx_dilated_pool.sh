#!/usr/bin/env bash
# onnx 1.23.2's reference evaluator, onnxruntime 1.32.0 and OpenVINO 2026.4.1 on the CPU: pools with
# dilations.
#
# One would expect: an average pool of 8 frames with kernel 3 and dilation 2 has 4 means without
# padding and 8 with auto_pad=SAME_UPPER, in each runtime and in ONNX's own evaluator. Seen: the
# evaluator makes as many windows as an undilated kernel has and fills those that it has no values for
# with zeros; of max pools it gives the right values. onnxruntime pads for the undilated kernel: with
# SAME_UPPER it gives 6 values where 8 are right, and no error. Where the axis has no fixed size there
# is no warning either: behind a global pool the shape is right again and the answer is not. For Conv
# it refuses these attributes. OpenVINO is right in all of them.
#
# Seen:
#   OpenVINO 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2
#   average, VALID, by onnx: 3.0 4.0 5.0 6.0 0.0 0.0
#   average, VALID, by onnxruntime: 3.0 4.0 5.0 6.0
#   average, VALID, by OpenVINO: 3.0 4.0 5.0 6.0
#   average, SAME_UPPER, by onnx: 3.0 3.0 4.0 5.0 6.0 6.0 0.0 0.0
#   average, SAME_UPPER, by onnxruntime: 3.0 3.0 4.0 5.0 6.0 6.0
#   average, SAME_UPPER, by OpenVINO: 2.0 3.0 3.0 4.0 5.0 6.0 6.0 7.0
#   largest, SAME_UPPER, by onnx: 3.0 4.0 5.0 6.0 7.0 8.0 7.0 8.0
#   largest, SAME_UPPER, by onnxruntime: 4.0 5.0 6.0 7.0 8.0 7.0
#   largest, SAME_UPPER, by OpenVINO: 3.0 4.0 5.0 6.0 7.0 8.0 7.0 8.0
#   mean of the largest, by onnx: 6.0
#   mean of the largest, by onnxruntime: 6.167
#   mean of the largest, by OpenVINO: 6.0
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$workspace"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

version = openvino.__version__.split("-")[0]
print(f"OpenVINO {version}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
core = openvino.Core()
frames = np.arange(1, 9, dtype=np.float32)[None, None]


def answers(*nodes):
    graph = helper.make_graph(
        list(nodes),
        "pool",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, [1, 1, "time"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    made = {
        "onnx": ReferenceEvaluator(model).run(None, {"frames": frames})[0],
        "onnxruntime": session.run(None, {"frames": frames})[0],
        "OpenVINO": compiled([frames])[0],
    }
    return {name: [round(float(value), 3) for value in out[0, 0]] for name, out in made.items()}


def pool(kind, target, padding):
    return helper.make_node(
        kind, ["frames"], [target], kernel_shape=[3], dilations=[2], auto_pad=padding
    )


seen = {
    "average, VALID": answers(pool("AveragePool", "out", "VALID")),
    "average, SAME_UPPER": answers(pool("AveragePool", "out", "SAME_UPPER")),
    "largest, SAME_UPPER": answers(pool("MaxPool", "out", "SAME_UPPER")),
    "mean of the largest": answers(
        pool("MaxPool", "pooled", "SAME_UPPER"),
        helper.make_node("GlobalAveragePool", ["pooled"], ["out"]),
    ),
}
for what, made in seen.items():
    for name, values in made.items():
        print(f"{what}, by {name}:", *values)
right = {
    "average, VALID": [3, 4, 5, 6],
    "average, SAME_UPPER": [2, 3, 3, 4, 5, 6, 6, 7],
    "largest, SAME_UPPER": [3, 4, 5, 6, 7, 8, 7, 8],
    "mean of the largest": [6],
}
wrong = {
    (what, name)
    for what, made in seen.items()
    for name, values in made.items()
    if values != right[what]
}
expected = {("average, VALID", "onnx"), ("average, SAME_UPPER", "onnx")}
expected |= {(what, "onnxruntime") for what in right if what != "average, VALID"}
sys.exit(wrong != expected)
PYTHON
