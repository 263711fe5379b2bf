#!/usr/bin/env bash
# OpenCV 4.13.0's and 5.0.0's dnn on ONNX's ReduceMean over three axes of a video.
#
# One would expect: the mean over frames, height and width of [2, 3, 4, 5, 6], as NumPy, ONNX Runtime
# and OpenCV's own ReduceMax over the same axes take it. Seen: means over one or two axes are right.
# Over three, 4.13.0 gives other numbers without an error, for every set of axes but those that begin
# with the first, and 5.0.0 for the same sets but the last three axes. Networks for videos pool so where
# channels are last, as TensorFlow has them: their logits are off, and they still answer.
# Two means one after the other, over the last two axes and then over the other, are right in both.
#
# Seen:
#   onnxruntime 1.32.0, onnx 1.23.2
#   OpenCV 4.13.0: wrong means over axes 123 124 134 234; largest error 0.49 of values from 0 to 8
#   OpenCV 5.0.0: wrong means over axes 123 124 134; largest error 0.49 of values from 0 to 8
#   and no wrong maximum, by either
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
"""Prints OpenCV's version, and the largest error of its answer to each model, as JSON."""

import json
import pathlib

import cv2
import numpy as np

video = np.load("video.npy", allow_pickle=False)
errors = {}
for path in sorted(pathlib.Path(".").glob("*.onnx")):
    expected = np.load(path.with_suffix(".npy"), allow_pickle=False)
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(video, "video")
    errors[path.stem] = float(abs(network.forward().reshape(expected.shape) - expected).max())
print(json.dumps({"version": cv2.__version__, "errors": errors}))
PYTHON
venv/bin/python - <<'PYTHON'
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

print(f"onnxruntime {onnxruntime.__version__}, onnx {onnx.__version__}")
video = np.random.default_rng(0).integers(0, 9, (2, 3, 4, 5, 6)).astype(np.float32)
np.save("video.npy", video)
for operation, slow in (("ReduceMean", np.mean), ("ReduceMax", np.max)):
    for count in (1, 2, 3):
        for axes in itertools.combinations(range(video.ndim), count):
            expected = slow(video, axis=axes)
            graph = helper.make_graph(
                [helper.make_node(operation, ["video"], ["out"], axes=axes, keepdims=0)],
                "reduced",
                [helper.make_tensor_value_info("video", TensorProto.FLOAT, video.shape)],
                [helper.make_tensor_value_info("out", TensorProto.FLOAT, expected.shape)],
            )
            opset = helper.make_opsetid("", 13)
            model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
            onnx.checker.check_model(model, full_check=True)
            name = f"{operation}-{''.join(map(str, axes))}"
            onnx.save(model, f"{name}.onnx")
            np.save(f"{name}.npy", expected)
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), providers=["CPUExecutionProvider"]
            )
            (out,) = session.run(None, {"video": video})
            np.testing.assert_allclose(out, expected, rtol=1e-5)
seen = {}
for version in ("4.13.0.92", "5.0.0.93"):
    ran = subprocess.run(
        [sys.executable, "answer.py"],
        env={**os.environ, "PYTHONPATH": version},
        check=True,
        capture_output=True,
        text=True,
    )
    answer = json.loads(ran.stdout.splitlines()[-1])
    wrong = {name: error for name, error in answer["errors"].items() if error > 0.1}
    seen[answer["version"]] = sorted(wrong)
    means = " ".join(name.removeprefix("ReduceMean-") for name in sorted(wrong))
    print(
        f"OpenCV {answer['version']}: wrong means over axes {means}; "
        f"largest error {max(wrong.values(), default=0):.2f} of values from 0 to 8"
    )
expected = {
    "4.13.0": ["ReduceMean-123", "ReduceMean-124", "ReduceMean-134", "ReduceMean-234"],
    "5.0.0": ["ReduceMean-123", "ReduceMean-124", "ReduceMean-134"],
}
sys.exit(seen != expected)
PYTHON
