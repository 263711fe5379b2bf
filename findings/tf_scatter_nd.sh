#!/usr/bin/env bash
# tf2onnx 1.17.0 and OpenVINO 2026.4.1 on tf.scatter_nd of TensorFlow 2.21.0 (the CPU build), with indices
# that repeat; onnxruntime 1.32.0 and ai-edge-litert 2.3.0.
#
# One would expect: scatter_nd adds the values whose indices are equal, as its documentation promises,
# also when converted. Seen: tf2onnx writes a ScatterND without `reduction`, at every opset, though there
# has been one since opset 16 and it uses it for tensor_scatter_nd_add. OpenVINO's own reader of
# TensorFlow does the same. All values but the last are dropped, and nothing warns. Scores of overlapping
# windows, added to the frames that they cover and divided by their number, are those of the last window
# over the number of windows; a map of keypoints counts two people in one cell as one. LiteRT is right,
# and tensor_scatter_nd_add onto zeros is right everywhere.
#
# Seen:
#   TensorFlow 2.21.0, tf2onnx 1.17.0, onnxruntime 1.32.0, OpenVINO 2026.4.1
#   windows of 4 frames, 2 apart, with scores 0.9 0.6 0.3: the mean score of each frame
#   scatter_nd, TensorFlow: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   scatter_nd, LiteRT: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   scatter_nd, ONNX of opset 11: 0.90 0.90 0.30 0.30 0.15 0.15 0.30 0.30
#   scatter_nd, ONNX of opset 18: 0.90 0.90 0.30 0.30 0.15 0.15 0.30 0.30
#   scatter_nd, OpenVINO: 0.90 0.90 0.30 0.30 0.15 0.15 0.30 0.30
#   tensor_scatter_nd_add, TensorFlow: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   tensor_scatter_nd_add, LiteRT: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   tensor_scatter_nd_add, ONNX of opset 18: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   tensor_scatter_nd_add, OpenVINO: 0.90 0.90 0.75 0.75 0.45 0.45 0.30 0.30
#   lines of errors and warnings that name a scatter: 0
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
FRAMES, WINDOW, STRIDE = 8, 4, 2
scores = np.array([0.9, 0.6, 0.3], np.float32)
frames = np.array([[STRIDE * i + j] for i in range(len(scores)) for j in range(WINDOW)], np.int32)
covered = np.bincount(frames[:, 0]).astype(np.float32)
print(f"windows of {WINDOW} frames, {STRIDE} apart, with scores", *scores, end=": the mean score of each frame\n")
signature = [tf.TensorSpec([len(scores)], tf.float32, "scores")]


def tensorflow(function):
    return function(scores).numpy()


def litert(function):
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], scores)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def onnx(opset):
    def run(function):
        model, _ = tf2onnx.convert.from_function(function, signature, opset=opset)
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"scores": scores})[0]

    return run


def openvino_reader(function):
    return openvino.compile_model(openvino.convert_model(function), "CPU")([scores])[0]


runtimes = {
    "TensorFlow": tensorflow,
    "LiteRT": litert,
    "ONNX of opset 11": onnx(11),
    "ONNX of opset 18": onnx(18),
    "OpenVINO": openvino_reader,
}


@tf.function(input_signature=signature, autograph=False)
def scatter_nd(scores):
    return tf.scatter_nd(frames, tf.repeat(scores, WINDOW), [FRAMES]) / covered


@tf.function(input_signature=signature, autograph=False)
def tensor_scatter_nd_add(scores):
    return tf.tensor_scatter_nd_add(tf.zeros([FRAMES]), frames, tf.repeat(scores, WINDOW)) / covered


means, last = np.zeros(FRAMES), np.zeros(FRAMES)
for start, score in zip(range(0, FRAMES, STRIDE), scores):
    means[start : start + WINDOW] += score / covered[start : start + WINDOW]
    last[start : start + WINDOW] = score / covered[start : start + WINDOW]
as_expected = True
for function, name in ((scatter_nd, "scatter_nd"), (tensor_scatter_nd_add, "tensor_scatter_nd_add")):
    for runtime, run in runtimes.items():
        if name == "tensor_scatter_nd_add" and runtime == "ONNX of opset 11":
            continue  # ONNX has had the reduction since opset 16.
        seen = run(function)
        print(f"{name}, {runtime}:", *(f"{value:.2f}" for value in seen))
        dropped = name == "scatter_nd" and runtime not in ("TensorFlow", "LiteRT")
        as_expected &= np.allclose(seen, last if dropped else means, atol=1e-5)
warned = sum("scatter" in line.lower() for line in open("errors.txt"))
print("lines of errors and warnings that name a scatter:", warned)
sys.exit(not as_expected or warned > 0)
PYTHON
