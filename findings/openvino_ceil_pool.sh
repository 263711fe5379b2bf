#!/usr/bin/env bash
# OpenVINO 2026.4.1 on the CPU, reading ONNX files made with onnx 1.23.2; onnxruntime 1.32.0 for
# comparison.
#
# One would expect: an average pool with ceil_mode=1 and count_include_pad=1, as torch exports
# AvgPool3d(3, 2, 1, ceil_mode=True), divides by the values and the padding of a window, and not by
# what lies beyond the padding, as torch, ONNX's reference and onnxruntime do. Seen: OpenVINO divides
# the last window of each axis by the size of the kernel. Of ones it gives 1/3 where 1/2 is right; in
# three dimensions the last corner's mean is 1/27 where it is 1/8. The others are right.
#
# Seen:
#   OpenVINO 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2
#   1 axes, by onnx: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.500
#   1 axes, by onnxruntime: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.500
#   1 axes, by OpenVINO: means of ones [0.667, 1.0, 1.0, 0.333], of the last corner 0.333
#   2 axes, by onnx: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.250
#   2 axes, by onnxruntime: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.250
#   2 axes, by OpenVINO: means of ones [0.667, 1.0, 1.0, 0.333], of the last corner 0.111
#   3 axes, by onnx: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.125
#   3 axes, by onnxruntime: means of ones [0.667, 1.0, 1.0, 0.5], of the last corner 0.125
#   3 axes, by OpenVINO: means of ones [0.667, 1.0, 1.0, 0.333], of the last corner 0.037
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


def answers(ones):
    axes = ones.ndim - 2
    pool = helper.make_node(
        "AveragePool",
        ["clip"],
        ["out"],
        kernel_shape=[3] * axes,
        strides=[2] * axes,
        pads=[1] * 2 * axes,
        ceil_mode=1,
        count_include_pad=1,
    )
    graph = helper.make_graph(
        [pool],
        "pool",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, ones.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, *[4] * axes])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    yield "onnx", ReferenceEvaluator(model).run(None, {"clip": ones})[0]
    yield "onnxruntime", session.run(None, {"clip": ones})[0]
    yield "OpenVINO", compiled([ones])[0]


same = True
for axes in (1, 2, 3):
    for name, made in answers(np.ones([1, 1, *[6] * axes], np.float32)):
        middle = (0, 0, *[1] * (axes - 1))
        line = [round(float(value), 3) for value in made[middle]]
        last = float(made[(0, 0, *[3] * axes)])
        print(f"{axes} axes, by {name}: means of ones {line}, of the last corner {last:.3f}")
        end = 1 / 3 if name == "OpenVINO" else 1 / 2
        start = [2 / 3, 1, 1, end]
        same &= np.allclose(made[middle], start, atol=1e-5) and abs(last - end**axes) < 1e-5
sys.exit(not same)
PYTHON
