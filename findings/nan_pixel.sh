#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build), ai-edge-litert 2.3.0 and OpenVINO 2026.4.1 on a CPU: one pixel of
# a clip is NaN, as unknown pixels are in published optical flow.
#
# One would expect: NaN reaches the probabilities however a network is run, so that a broken clip, or
# weights that diverged, are noticed. Seen: a max pool, which keeps NaN eagerly and in graphs, drops it
# under XLA. Converted, the convolution with relu drops it already: OpenVINO makes 0 of NaN, and the
# network answers with probabilities; LiteRT makes the largest float32 of it, which no check for NaN or
# infinity of the features finds.
#
# Seen:
#   TensorFlow 2.21.0, ai-edge-litert 2.3.0, OpenVINO 2026.4.1
#   TensorFlow, eager: 108 NaN in the features, largest 4.16; probabilities nan nan nan
#   TensorFlow, eager: 8 NaN behind the max pool
#   TensorFlow, graph: 108 NaN in the features, largest 4.16; probabilities nan nan nan
#   TensorFlow, graph: 8 NaN behind the max pool
#   TensorFlow, XLA: 108 NaN in the features, largest 4.16; probabilities nan nan nan
#   TensorFlow, XLA: 0 NaN behind the max pool
#   LiteRT: 0 NaN in the features, largest 3.4e+38; probabilities nan nan nan
#   OpenVINO: 0 NaN in the features, largest 4.16; probabilities 0.485 0.249 0.266
#   OpenVINO: 0 NaN behind the max pool
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 ai-edge-litert==2.3.0 openvino==2026.4.1
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import sys

import numpy as np
import openvino
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

print(f"TensorFlow {tf.__version__}, ai-edge-litert 2.3.0, OpenVINO {openvino.__version__.split('-')[0]}")
generator = np.random.default_rng(0)
clip = generator.normal(size=[1, 4, 8, 8, 2]).astype(np.float32)
clip[0, 1, 2, 3] = np.nan
kernel = generator.normal(size=[3, 3, 3, 2, 4]).astype(np.float32) / 7
dense = generator.normal(size=[4, 3]).astype(np.float32)


def features(inputs):
    return tf.nn.relu(tf.nn.conv3d(inputs, kernel, [1] * 5, "SAME"))


def network(inputs):
    return tf.nn.softmax(tf.matmul(tf.reduce_mean(features(inputs), [1, 2, 3]), dense))


def pooled(inputs):
    return tf.nn.max_pool3d(features(inputs), 2, 2, "VALID")


class Saved(tf.Module):
    def __init__(self, function):
        self.function = tf.function(function, input_signature=[tf.TensorSpec(clip.shape)])


def tensorflow(function, **arguments):
    return tf.function(function, **arguments)(clip).numpy()


def litert(function):
    saved = Saved(function)
    concrete = saved.function.get_concrete_function()
    data = tf.lite.TFLiteConverter.from_concrete_functions([concrete], saved).convert()
    interpreter = Interpreter(model_content=data)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], clip)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def openvino_cpu(function):
    saved = Saved(function)
    tf.saved_model.save(saved, "saved", signatures=saved.function.get_concrete_function())
    model = openvino.convert_model("saved")
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled([clip])[0]


runtimes = {
    "TensorFlow, eager": lambda function: function(clip).numpy(),
    "TensorFlow, graph": tensorflow,
    "TensorFlow, XLA": lambda function: tensorflow(function, jit_compile=True),
    "LiteRT": litert,
    "OpenVINO": openvino_cpu,
}
seen = {}
for name, run in runtimes.items():
    probabilities = run(network)
    made = run(features)
    seen[name] = [np.isnan(made).any(), np.isnan(probabilities).any()]
    line = f"{np.isnan(made).sum()} NaN in the features, largest {np.nanmax(made):.3g}; probabilities"
    print(f"{name}: {line}", *np.round(probabilities[0], 3))
    if name != "LiteRT":
        behind = np.isnan(run(pooled)).sum()
        seen[name].append(behind > 0)
        print(f"{name}: {behind} NaN behind the max pool")
expected = {
    "TensorFlow, eager": [True, True, True],
    "TensorFlow, graph": [True, True, True],
    "TensorFlow, XLA": [True, True, False],
    "LiteRT": [False, True],
    "OpenVINO": [False, False, False],
}
sys.exit(seen != expected)
PYTHON
