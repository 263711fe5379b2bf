#!/usr/bin/env bash
# OpenVINO 2026.4.1 on the CPU, reading ONNX files made with onnx 1.23.2; onnxruntime 1.32.0 for
# comparison.
#
# One would expect: a transposed convolution with auto_pad=SAME_UPPER gives the same values whether its
# file states output_shape or not, where the stated shape is the one that SAME_UPPER implies, as in ONNX's
# reference and onnxruntime. Seen: once output_shape is there, OpenVINO treats SAME_UPPER as SAME_LOWER.
# Where the padding to remove is an odd number, as with kernel 3 and stride 2, it removes the extra value
# in front instead of at the end. The shape is right, and each such layer shifts its features by one: in
# a video by one frame, one row and one column. Nothing warns. Without output_shape, or with the same
# padding in numbers, OpenVINO is right; with an even padding, as kernel 4 and stride 2 have, all agree.
#
# Seen:
#   OpenVINO 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2
#   SAME_UPPER, shape implied, by onnx: 1 10 102 20 203 30
#   SAME_UPPER, shape implied, by onnxruntime: 1 10 102 20 203 30
#   SAME_UPPER, shape implied, by OpenVINO: 1 10 102 20 203 30
#   SAME_UPPER, shape stated, by onnx: 1 10 102 20 203 30
#   SAME_UPPER, shape stated, by onnxruntime: 1 10 102 20 203 30
#   SAME_UPPER, shape stated, by OpenVINO: 10 102 20 203 30 300
#   SAME_LOWER, shape stated, by onnx: 10 102 20 203 30 300
#   SAME_LOWER, shape stated, by onnxruntime: 10 102 20 203 30 300
#   SAME_LOWER, shape stated, by OpenVINO: 10 102 20 203 30 300
#   padding in numbers, by onnx: 1 10 102 20 203 30
#   padding in numbers, by onnxruntime: 1 10 102 20 203 30
#   padding in numbers, by OpenVINO: 1 10 102 20 203 30
#   SAME_UPPER, shape stated, kernel 4, by onnx: 10 102 1020 203 2030 300
#   SAME_UPPER, shape stated, kernel 4, by onnxruntime: 10 102 1020 203 2030 300
#   SAME_UPPER, shape stated, kernel 4, by OpenVINO: 10 102 1020 203 2030 300
#   the brightest of 6 frames of 8x10 pixels, by onnx: frame 2, row 4, column 6
#   the brightest of 6 frames of 8x10 pixels, by onnxruntime: frame 2, row 4, column 6
#   the brightest of 6 frames of 8x10 pixels, by OpenVINO: frame 1, row 3, column 5
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
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

version = openvino.__version__.split("-")[0]
print(f"OpenVINO {version}, onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")


def answers(features, kernel, **attributes):
    shape = [1, 1, *(2 * size for size in features.shape[2:])]
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["features", "kernel"], ["out"], **attributes)],
        "upsampling",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, features.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opset = helper.make_opsetid("", 13)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnx": ReferenceEvaluator(model).run(None, {"features": features})[0],
        "onnxruntime": session.run(None, {"features": features})[0],
        "OpenVINO": compiled([features])[0],
    }


seen = {}
row = np.array([[[1, 2, 3]]], np.float32)
for name, size, attributes in (
    ("SAME_UPPER, shape implied", 3, {"auto_pad": "SAME_UPPER"}),
    ("SAME_UPPER, shape stated", 3, {"auto_pad": "SAME_UPPER", "output_shape": [6]}),
    ("SAME_LOWER, shape stated", 3, {"auto_pad": "SAME_LOWER", "output_shape": [6]}),
    ("padding in numbers", 3, {"pads": [0, 1]}),
    ("SAME_UPPER, shape stated, kernel 4", 4, {"auto_pad": "SAME_UPPER", "output_shape": [6]}),
):
    kernel = np.array([[[1, 10, 100, 1000][:size]]], np.float32)
    for runtime, out in answers(row, kernel, strides=[2], **attributes).items():
        values = " ".join(str(round(value)) for value in out.ravel().tolist())
        print(f"{name}, by {runtime}: {values}")
        seen[name, runtime] = values
clip = np.zeros([1, 1, 3, 4, 5], np.float32)
clip[0, 0, 1, 2, 3] = 1
kernel = np.zeros([1, 1, 3, 3, 3], np.float32)
kernel[0, 0, 0, 0, 0] = 1
attributes = {"strides": [2, 2, 2], "auto_pad": "SAME_UPPER", "output_shape": [6, 8, 10]}
for runtime, out in answers(clip, kernel, **attributes).items():
    frame, line, column = (int(index) for index in np.unravel_index(out[0, 0].argmax(), out.shape[2:]))
    print(f"the brightest of 6 frames of 8x10 pixels, by {runtime}: "
          f"frame {frame}, row {line}, column {column}")
    seen["clip", runtime] = frame, line, column
upper, lower, even = "1 10 102 20 203 30", "10 102 20 203 30 300", "10 102 1020 203 2030 300"
expected = {
    "SAME_UPPER, shape implied": (upper, upper),
    "SAME_UPPER, shape stated": (upper, lower),
    "SAME_LOWER, shape stated": (lower, lower),
    "padding in numbers": (upper, upper),
    "SAME_UPPER, shape stated, kernel 4": (even, even),
    "clip": ((2, 4, 6), (1, 3, 5)),
}
sys.exit(seen != {
    (name, runtime): openvinos if runtime == "OpenVINO" else others
    for name, (others, openvinos) in expected.items()
    for runtime in ("onnx", "onnxruntime", "OpenVINO")
})
PYTHON
