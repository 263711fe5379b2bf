#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build): the gradient of max_pool3d where values of a window are equal.
#
# One would expect: one of the largest values gets the window's gradient, as for max_pool2d, however
# the step is run. Seen: eagerly, and in graphs without oneDNN, each of them gets all of it: the
# gradient of a 2x2x2 window of equal values is multiplied by 8. With oneDNN in a graph, and under
# XLA, one of them gets it. Equal values are common: padded or black borders, long stills, bfloat16.
# The same training step computes other gradients on another CPU, as TensorFlow turns oneDNN on by
# the CPU's instructions, or when it is run eagerly to debug it.
#
# Seen:
#   TensorFlow 2.21.0, TF_ENABLE_ONEDNN_OPTS=0
#   sum of a window's gradients: max_pool3d eager 8, in a graph 8, by XLA 1; max_pool2d 1
#   TensorFlow 2.21.0, TF_ENABLE_ONEDNN_OPTS=1
#   sum of a window's gradients: max_pool3d eager 8, in a graph 1, by XLA 1; max_pool2d 1
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0
cd "$workspace"
cat >check.py <<'PYTHON'
import os
import sys

import tensorflow as tf

setting = os.environ["TF_ENABLE_ONEDNN_OPTS"]
print(f"TensorFlow {tf.__version__}, TF_ENABLE_ONEDNN_OPTS={setting}")


def gradient(pool, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(pool(x, 2, 2, "VALID"))
    return tf.reduce_sum(tape.gradient(loss, x))


clip, image = tf.zeros([1, 2, 2, 2, 1]), tf.zeros([1, 2, 2, 1])
seen = [
    int(gradient(tf.nn.max_pool3d, clip)),
    int(tf.function(lambda: gradient(tf.nn.max_pool3d, clip))()),
    int(tf.function(lambda: gradient(tf.nn.max_pool3d, clip), jit_compile=True)()),
    int(gradient(tf.nn.max_pool2d, image)),
]
print("sum of a window's gradients: max_pool3d eager {}, in a graph {}, by XLA {}; "
      "max_pool2d {}".format(*seen))
sys.exit(seen != [int(value) for value in sys.argv[1:]])
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
TF_ENABLE_ONEDNN_OPTS=0 venv/bin/python check.py 8 8 1 1
TF_ENABLE_ONEDNN_OPTS=1 venv/bin/python check.py 8 1 1 1
