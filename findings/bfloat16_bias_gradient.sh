#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build), tf_keras 2.21.0 and Keras 3.15.1 on a CPU, in mixed bfloat16.
#
# One would expect: sums over a video's pixels are kept in float32 inside of an operation, as
# reduce_sum and matmul do. Seen: the gradient of a bias is added up in bfloat16, one value after
# another, and stops at 256, where adding 1 no longer changes the sum. A bias of a convolution over
# 16 frames of 16x16 pixels, whose gradient is 4096, gets 256, in tf_keras, Keras 3 and under XLA.
# einsum and cumsum stop there as well; reduce_sum of float16 over leading axes stops at 2048, while
# that of bfloat16 does not. `x + bias` instead of bias_add has the right gradient.
#
# Seen:
#   TensorFlow 2.21.0, tf_keras 2.21.0, Keras 3.15.1
#   gradient of a bias at 4096 pixels: tf_keras 256, Keras 256
#   tf.nn.bias_add: 256, compiled by XLA 256; x + bias: 4096
#   einsum of 4096 ones: 256, tensordot 4096
#   cumsum of 4096 ones: 256
#   reduce_sum over the leading axes, of bfloat16 4096, of float16 2048
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - <<'PYTHON'
import sys

import keras
import tensorflow as tf
import tf_keras

print(f"TensorFlow {tf.__version__}, tf_keras {tf_keras.__version__}, Keras {keras.__version__}")
video = tf.ones([1, 16, 16, 16, 3])


def gradient_of_layer(layer):
    layer(video)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(layer(video), tf.float32))
    return float(tape.gradient(loss, layer.trainable_variables[-1])[0])


class Keras3Bias(tf.Module):
    def __init__(self):
        self.layer = keras.layers.Conv3D(2, 1, dtype="mixed_bfloat16")

    def __call__(self, inputs):
        return self.layer(inputs)

    @property
    def trainable_variables(self):
        return [variable.value for variable in self.layer.trainable_variables]


old = gradient_of_layer(tf_keras.layers.Conv3D(2, 1, dtype="mixed_bfloat16"))
new = gradient_of_layer(Keras3Bias())
print(f"gradient of a bias at 4096 pixels: tf_keras {old:.0f}, Keras {new:.0f}")

features = tf.ones([1, 16, 16, 16, 4], tf.bfloat16)


def gradient(add):
    bias = tf.zeros([4], tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(bias)
        loss = tf.reduce_sum(tf.cast(add(features, bias), tf.float32))
    return tape.gradient(loss, bias)[0]


added = float(gradient(tf.nn.bias_add))
compiled = float(tf.function(lambda: gradient(tf.nn.bias_add), jit_compile=True)())
broadcast = float(gradient(tf.add))
print(f"tf.nn.bias_add: {added:.0f}, compiled by XLA {compiled:.0f}; x + bias: {broadcast:.0f}")
ones = tf.ones([4096], tf.bfloat16)
dot, product = float(tf.einsum("i,i->", ones, ones)), float(tf.tensordot(ones, ones, 1))
print(f"einsum of 4096 ones: {dot:.0f}, tensordot {product:.0f}")
running = float(tf.cumsum(ones)[-1])
print(f"cumsum of 4096 ones: {running:.0f}")
sums = [
    float(tf.reduce_sum(tf.cast(features, dtype), [0, 1, 2, 3])[0])
    for dtype in (tf.bfloat16, tf.float16)
]
print("reduce_sum over the leading axes, of bfloat16 {:.0f}, of float16 {:.0f}".format(*sums))
seen = [old, new, added, compiled, broadcast, dot, product, running, *sums]
sys.exit(seen != [256, 256, 256, 256, 4096, 256, 4096, 256, 4096, 2048])
PYTHON
