#!/usr/bin/env bash
# OpenCV 4.13.0's and 5.0.0's dnn on ONNX models with auto_pad: strided convolutions and max pools.
#
# One would expect: where an odd number of values is padded, SAME_UPPER has the extra one at the end,
# as TensorFlow's SAME does, and SAME_LOWER in front; a row of six, kernel 3 and stride 2 are padded
# by one. Seen: OpenCV 5.0.0 pads in front for both, and 4.13.0 at the end for both, without an error.
# Pads that are given in numbers are right in both. A network converted from TensorFlow, whose strided
# layers say SAME_UPPER, is right in 4.13.0; after the upgrade each of these layers is shifted by a
# pixel, and the network still answers, by other logits.
#
# Seen:
#   onnxruntime 1.32.0, onnx 1.23.2
#   convolution, SAME_LOWER, OpenCV 4.13.0: 6 12 11
#   convolution, SAME_LOWER, OpenCV 5.0.0: 3 9 15
#   convolution, SAME_LOWER, onnxruntime: 3 9 15
#   convolution, SAME_UPPER, OpenCV 4.13.0: 6 12 11
#   convolution, SAME_UPPER, OpenCV 5.0.0: 3 9 15
#   convolution, SAME_UPPER, onnxruntime: 6 12 11
#   and alike for max pools; of a model with one padded value behind: 6 12 11 by all three
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
pip() { "$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile "$@"; }
pip numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
for version in 4.13.0.92 5.0.0.93; do
  pip --no-deps --target "$workspace/$version" "opencv-python-headless==$version"
done
cd "$workspace"
cat > answer.py <<'PYTHON'
"""Prints OpenCV's version, and its answer to each model of the folder, as JSON."""

import json
import pathlib

import cv2
import numpy as np

row = np.tile(np.arange(1, 7, dtype=np.float32), (4, 1))[None, None]
answers = {"version": cv2.__version__}
for path in sorted(pathlib.Path(".").glob("*.onnx")):
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(row, "row")
    answers[path.stem] = network.forward()[0, 0, 0].tolist()
print(json.dumps(answers))
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
row = np.tile(np.arange(1, 7, dtype=np.float32), (4, 1))[None, None]  # four rows of 1 to 6
ones = numpy_helper.from_array(np.ones((1, 1, 1, 3), np.float32), "ones")
shapes = {"kernel_shape": [1, 3], "strides": [1, 2]}
paddings = {
    "SAME_UPPER": {"auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"auto_pad": "SAME_LOWER"},
    "one behind": {"pads": [0, 0, 0, 1]},
}
kinds = {
    "convolution": ("Conv", ["row", "ones"], [ones]),
    "max pool": ("MaxPool", ["row"], []),
}
answers = {}
for kind, (operation, inputs, weights) in kinds.items():
    for name, padding in paddings.items():
        graph = helper.make_graph(
            [helper.make_node(operation, inputs, ["out"], **shapes, **padding)],
            "strided",
            [helper.make_tensor_value_info("row", TensorProto.FLOAT, [1, 1, 4, 6])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 4, 3])],
            weights,
        )
        opset = helper.make_opsetid("", 18)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, f"{kind}, {name}.onnx")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (out,) = session.run(None, {"row": row})
        answers[f"{kind}, {name}", "onnxruntime"] = out[0, 0, 0].tolist()
for version in ("4.13.0.92", "5.0.0.93"):
    ran = subprocess.run(
        [sys.executable, "answer.py"],
        env={**os.environ, "PYTHONPATH": version},
        check=True,
        capture_output=True,
        text=True,
    )
    made = json.loads(ran.stdout.splitlines()[-1])
    name = f"OpenCV {made.pop('version')}"
    answers |= {(what, name): values for what, values in made.items()}
for (what, name), values in sorted(answers.items()):
    print(f"{what}, {name}:", *(f"{value:g}" for value in values))
right = {
    "convolution, SAME_UPPER": [6, 12, 11],
    "convolution, SAME_LOWER": [3, 9, 15],
    "convolution, one behind": [6, 12, 11],
    "max pool, SAME_UPPER": [3, 5, 6],
    "max pool, SAME_LOWER": [2, 4, 6],
    "max pool, one behind": [3, 5, 6],
}
wrong = {(what, name): values for (what, name), values in answers.items() if values != right[what]}
expected = {
    (f"{kind}, {given}", name): right[f"{kind}, {taken}"]
    for kind in kinds
    for name, given, taken in (
        ("OpenCV 4.13.0", "SAME_LOWER", "SAME_UPPER"),
        ("OpenCV 5.0.0", "SAME_UPPER", "SAME_LOWER"),
    )
}
sys.exit(wrong != expected)
PYTHON
