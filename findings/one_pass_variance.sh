#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build), tf_keras 2.21.0: batch norm, compiled by XLA or not.
#
# One would expect: jit_compile=True changes the rounding of a training step, not its statistics, as
# variances are computed from differences to the mean. Seen: in tf_keras's BatchNormalization, of
# images and of clips, XLA subtracts the square of the mean from the mean of squares. Where a channel's
# mean is 1000 times its deviation the variance that it finds is below 0 and the output NaN; where it
# is 3000 times, the variance is wrong by a third and nothing shows it. The moving variance, with which
# the network is evaluated later, keeps it.
#
# Seen:
#   TensorFlow 2.21.0, tf_keras 2.21.0
#   images of mean    0 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   images of mean    0 and variance 1.01, XLA: moving variance 1.01, deviation of the output 1.00
#   images of mean  100 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   images of mean  100 and variance 1.01, XLA: moving variance 0.99, deviation of the output 1.01
#   images of mean 1000 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   images of mean 1000 and variance 1.01, XLA: moving variance -1.60, deviation of the output nan
#   images of mean 3000 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   images of mean 3000 and variance 1.01, XLA: moving variance 1.33, deviation of the output 0.87
#   clips of mean    0 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   clips of mean    0 and variance 1.01, XLA: moving variance 1.01, deviation of the output 1.00
#   clips of mean  100 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   clips of mean  100 and variance 1.01, XLA: moving variance 0.99, deviation of the output 1.01
#   clips of mean 1000 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   clips of mean 1000 and variance 1.01, XLA: moving variance -1.60, deviation of the output nan
#   clips of mean 3000 and variance 1.01, graph: moving variance 1.01, deviation of the output 1.00
#   clips of mean 3000 and variance 1.01, XLA: moving variance 1.33, deviation of the output 0.87
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf_keras==2.21.0
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf
import tf_keras

print(f"TensorFlow {tf.__version__}, tf_keras {tf_keras.__version__}")
noise = np.random.default_rng(0).normal(size=[8, 4, 28, 28, 2]).astype(np.float32)


def variances(frames, compiled):
    layer = tf_keras.layers.BatchNormalization(momentum=0.0)
    layer.build(frames.shape)
    step = tf.function(lambda: layer(frames, training=True), jit_compile=compiled)
    normalised = step()
    return float(layer.moving_variance[0]), float(tf.math.reduce_std(normalised[..., 0]))


seen = {}
for name, values in (("images", noise.reshape(32, 28, 28, 2)), ("clips", noise)):
    for mean in (0, 100, 1000, 3000):
        frames = tf.constant(values + np.float32(mean))
        right = float(np.var(frames.numpy().astype(np.float64)[..., 0]))
        for compiled in (False, True):
            variance, spread = variances(frames, compiled)
            seen[name, mean, compiled] = variance / right
            print(f"{name} of mean {mean:4d} and variance {right:.2f}, {'XLA' if compiled else 'graph'}: "
                  f"moving variance {variance:.2f}, deviation of the output {spread:.2f}")
off = {key for key, ratio in seen.items() if not 0.9 < ratio < 1.1}
expected = {(name, mean, True) for name in ("images", "clips") for mean in (1000, 3000)}
sys.exit(off != expected)
PYTHON
