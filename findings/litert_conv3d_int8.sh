#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build)'s TFLite converter and ai-edge-litert 2.3.0.
#
# One would expect: Conv3D is quantised as Conv2D is, or, with supported_ops=[TFLITE_BUILTINS_INT8],
# the conversion fails, which is what the documentation says of operations that have no integer
# version. Seen: no way of quantisation touches Conv3D, and nothing says so. With the strict one the
# file takes and returns int8, so that it looks quantised, and computes its convolution in float32
# between a dequantisation and a quantisation: as large as before, with the errors of both. Only
# float16 weights make it smaller. Conv2D is a fourth of the size.
#
# Seen:
#   TensorFlow 2.21.0, ai-edge-litert 2.3.0
#   Conv3D, float32: takes float32, its kernel is float32, 1.0 of the size of the float32 weights
#   Conv3D, dynamic range: takes float32, its kernel is float32, 1.0 of the size of the float32 weights
#   Conv3D, strict int8: takes int8, its kernel is float32, 1.0 of the size of the float32 weights
#   Conv3D, float16: takes float32, its kernel is float16, 0.5 of the size of the float32 weights
#   Conv2D, float32: takes float32, its kernel is float32, 1.0 of the size of the float32 weights
#   Conv2D, dynamic range: takes float32, its kernel is int8, 0.3 of the size of the float32 weights
#   Conv2D, strict int8: takes int8, its kernel is int8, 0.3 of the size of the float32 weights
#   Conv2D, float16: takes float32, its kernel is float16, 0.5 of the size of the float32 weights
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 ai-edge-litert==2.3.0
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import sys

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

print(f"TensorFlow {tf.__version__}, ai-edge-litert 2.3.0")
generator = np.random.default_rng(0)
cases = {
    "Conv3D": (tf.nn.conv3d, [3, 3, 3, 64, 64], [1, 4, 8, 8, 64]),
    "Conv2D": (tf.nn.conv2d, [5, 5, 64, 64], [1, 8, 8, 64]),
}


def convert(function, shape, way):
    module = tf.Module()
    module.function = function
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if way != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if way == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if way == "strict int8":
        samples = generator.normal(size=[8, *shape]).astype(np.float32)
        converter.representative_dataset = lambda: ([sample] for sample in samples)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def convolution(operation, kernel, shape):
    def convolve(inputs):
        return operation(inputs, kernel, [1] * len(shape), "SAME")

    return tf.function(convolve, input_signature=[tf.TensorSpec(shape)])


ratios = {}
for name, (operation, kernel_shape, shape) in cases.items():
    kernel = generator.normal(size=kernel_shape).astype(np.float32) / 40
    convolve = convolution(operation, kernel, shape)
    for way in ("float32", "dynamic range", "strict int8", "float16"):
        data = convert(convolve, shape, way)
        interpreter = Interpreter(model_content=data)
        interpreter.allocate_tensors()
        given = interpreter.get_input_details()[0]["dtype"].__name__
        (weights,) = (
            tensor["dtype"].__name__
            for tensor in interpreter.get_tensor_details()
            if int(np.prod(tensor["shape"])) == kernel.size
            and (way != "float16" or tensor["dtype"] == np.float16)
        )
        ratios[name, way] = round(len(data) / (4 * kernel.size), 1)
        print(f"{name}, {way}: takes {given}, its kernel is {weights}, "
              f"{ratios[name, way]:.1f} of the size of the float32 weights")
small = {"float32": 1.0, "dynamic range": 0.3, "strict int8": 0.3, "float16": 0.5}
kept = {"float32": 1.0, "dynamic range": 1.0, "strict int8": 1.0, "float16": 0.5}
expected = {("Conv2D", way): ratio for way, ratio in small.items()}
expected |= {("Conv3D", way): ratio for way, ratio in kept.items()}
sys.exit(ratios != expected)
PYTHON
