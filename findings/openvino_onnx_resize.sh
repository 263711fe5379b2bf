#!/usr/bin/env bash
# OpenVINO 2026.4.1 on the CPU, reading ONNX files made with onnx 1.23.2; onnxruntime 1.32.0 for
# comparison.
#
# One would expect: a Resize with antialias=1, as torch exports interpolate(..., antialias=True),
# smooths, or the file is refused, as OpenVINO refuses modes of coordinates that it does not know.
# Seen: OpenVINO drops the attribute without a word, for linear and cubic interpolation. Frames of
# narrow stripes made three times smaller come out black and white, where they are grey. It drops
# exclude_outside as well, which tf2onnx writes for TensorFlow's bicubic resize: pixels near the
# borders differ. Networks that carry their own preprocessing see other frames than in training.
#
# Seen:
#   OpenVINO 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2
#   linear, antialias=1, by onnx: a row is 113 113 142 113 142 113 142 142
#   linear, antialias=1, by onnxruntime: a row is 113 113 142 113 142 113 142 142
#   linear, antialias=1, by OpenVINO: a row is 255 0 255 0 255 0 255 0
#   cubic, antialias=1, by onnx: a row is 107 131 129 126 129 126 124 148
#   cubic, antialias=1, by onnxruntime: a row is 107 131 129 126 129 126 124 148
#   cubic, antialias=1, by OpenVINO: a row is 255 0 255 0 255 0 255 0
#   cubic, exclude_outside=0: OpenVINO and onnxruntime differ by up to 0.0 of 255
#   cubic, exclude_outside=1: OpenVINO and onnxruntime differ by up to 7.3 of 255
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


def answers(frame, size, **attributes):
    sizes = onnx.numpy_helper.from_array(np.array([1, 1, *size], np.int64), "sizes")
    graph = helper.make_graph(
        [helper.make_node("Resize", ["frame", "", "", "sizes"], ["out"], **attributes)],
        "resize",
        [helper.make_tensor_value_info("frame", TensorProto.FLOAT, frame.shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, *size])],
        [sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnx": ReferenceEvaluator(model).run(None, {"frame": frame})[0][0, 0],
        "onnxruntime": session.run(None, {"frame": frame})[0][0, 0],
        "OpenVINO": compiled([frame])[0][0, 0],
    }


stripes = np.tile(np.array([0, 255], np.float32), [1, 1, 24, 12])
rows = {}
for mode in ("linear", "cubic"):
    for name, made in answers(stripes, (8, 8), mode=mode, antialias=1).items():
        rows[mode, name] = [round(float(value)) for value in made[4]]
        print(f"{mode}, antialias=1, by {name}: a row is", *rows[mode, name])
random = np.random.default_rng(0).uniform(0, 255, [1, 1, 7, 6]).astype(np.float32)
cubic = {"mode": "cubic", "cubic_coeff_a": -0.5}
differences = []
for exclude in (0, 1):
    made = answers(random, (11, 13), exclude_outside=exclude, **cubic)
    difference = float(np.abs(made["OpenVINO"] - made["onnxruntime"]).max())
    differences.append(difference)
    print(f"cubic, exclude_outside={exclude}: OpenVINO and onnxruntime differ by up to {difference:.1f} of 255")
dropped = all(
    set(rows[mode, "OpenVINO"]) == {0, 255}
    and all(80 < value < 175 for name in ("onnx", "onnxruntime") for value in rows[mode, name])
    for mode in ("linear", "cubic")
)
sys.exit(not (dropped and differences[0] < 0.1 and differences[1] > 5))
PYTHON
