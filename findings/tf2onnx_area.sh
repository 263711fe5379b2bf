#!/usr/bin/env bash
# tf2onnx 1.17.0 with TensorFlow 2.21.0 (the CPU build), onnxruntime 1.32.0: resizing by area.
#
# One would expect: tf.image.resize(..., "area"), with which frames are made smaller without aliasing,
# is converted to an operation that computes means, or refused, as ONNX has no such resize. Seen:
# tf2onnx writes a Resize of mode "nearest" and says nothing. Stripes made three times smaller, which
# become grey in TensorFlow, are black and white in the ONNX file; random frames differ by half of
# their range. Keras's Resizing(interpolation="area") is the same operation.
#
# Seen:
#   tf2onnx 1.17.0, TensorFlow 2.21.0, onnxruntime 1.32.0
#   mode of Resize in the file: nearest
#   stripes of 0 and 255, three times smaller, by TensorFlow: 85 170 85 170 85 170 85 170
#   stripes of 0 and 255, three times smaller, by onnxruntime: 0 255 0 255 0 255 0 255
#   random frame: mean difference 57 of 255
#   warnings: 0
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf2onnx==1.17.0 onnx==1.23.2 onnxruntime==1.32.0
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import sys

import numpy as np
import onnxruntime
import tensorflow as tf
import tf2onnx

print(f"tf2onnx {tf2onnx.__version__}, TensorFlow {tf.__version__}, onnxruntime {onnxruntime.__version__}")
shape = [1, 24, 24, 1]
signature = [tf.TensorSpec(shape, tf.float32)]
smaller = tf.function(lambda frame: tf.image.resize(frame, [8, 8], "area"), signature)
model, _ = tf2onnx.convert.from_function(smaller, input_signature=signature, opset=18)
modes = [
    attribute.s.decode()
    for node in model.graph.node
    if node.op_type == "Resize"
    for attribute in node.attribute
    if attribute.name == "mode"
]
print("mode of Resize in the file:", *modes)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
stripes = np.tile(np.array([[0.0], [255.0]], np.float32), [1, 24, 12, 1])
random = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
rows, difference = {}, 0
for name, frame in (("stripes", stripes), ("random", random)):
    expected = smaller(frame).numpy()
    made = session.run(None, {session.get_inputs()[0].name: frame})[0]
    if name == "stripes":
        rows = {"TensorFlow": expected[0, 4, :, 0], "onnxruntime": made[0, 4, :, 0]}
    else:
        difference = float(np.abs(expected - made).mean())
for name, row in rows.items():
    print(f"stripes of 0 and 255, three times smaller, by {name}:", *np.round(row).astype(int))
print(f"random frame: mean difference {difference:.0f} of 255")
print("warnings:", sum("area" in line.lower() for line in open("errors.txt")))
grey = set(np.round(rows["TensorFlow"]).astype(int)) <= {85, 170}
sys.exit(not (modes == ["nearest"] and grey and set(rows["onnxruntime"]) == {0, 255} and difference > 40))
PYTHON
