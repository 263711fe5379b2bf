#!/usr/bin/env bash
# TensorFlow 2.21.0 (the CPU build, oneDNN on), tf_keras 2.21.0 and Keras 3.15.1 on a CPU.
#
# One would expect: an optimizer's arithmetic on its state, and the gradient of an L2 regularizer,
# take their memory while a kernel is updated, one kernel after the other. Seen: both need nothing of
# the batch, so a graph's executor computes them for all kernels as the step begins, and holds them
# until the gradients arrive: momentum * velocity of SGD (also where momentum is 0), and decay *
# kernel. The peak, which comes when the forward pass ends, is higher by twice the size of the
# weights. Adam's arithmetic begins with the gradient, and has no such cost. Control dependencies on
# the gradients take both away.
#
# 16 layers of 1024 x 1024 (64 MiB), 2048 rows; MiB at the step's peak beyond what was there before:
#   TensorFlow 2.21.0, tf_keras 2.21.0, Keras 3.15.1
#   tf_keras SGD: 212, with L2 288; after the gradients 160, with L2 148
#   tf_keras Adam: 152, with L2 216; after the gradients 140, with L2 144
#   keras SGD: 208, with L2 272; after the gradients 152, with L2 156
#   keras Adam: 144, with L2 212; after the gradients 148, with L2 144
# The last MiB differ from run to run.
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 TF_ENABLE_ONEDNN_OPTS=1 venv/bin/python - <<'PYTHON'
import sys

import keras
import tensorflow as tf
import tf_keras

print(f"TensorFlow {tf.__version__}, tf_keras {tf_keras.__version__}, Keras {keras.__version__}")
LAYERS, WIDTH, ROWS, MIB = 16, 1024, 2048, 2**20
WEIGHTS = LAYERS * WIDTH * WIDTH * 4 / MIB
memory = tf.config.experimental


def peak(library, optimizer, *, decay, waits):
    """MiB of a step at most, beyond the weights and the optimizer's state."""
    penalize = library.regularizers.L2(1e-4) if decay else None
    model = library.Sequential(
        [
            library.layers.Dense(WIDTH, "relu", use_bias=False, kernel_regularizer=penalize)
            for _ in range(LAYERS)
        ]
    )
    model.build([None, WIDTH])
    optimizer.build(model.trainable_variables)
    kernels = model.trainable_variables
    if library is keras:
        kernels = [kernel.value for kernel in kernels]
    rows = tf.random.normal([ROWS, WIDTH])

    @tf.function(autograph=False)
    def step(rows):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(rows)))
        gradients = tape.gradient(loss, kernels)
        known = [tf.group(gradients)] if waits else []
        with tf.control_dependencies(known):
            if decay:
                with tf.GradientTape() as tape:
                    penalty = tf.add_n(model.losses)
                upstream = tf.ones([])
                added = tape.gradient(penalty, kernels, output_gradients=upstream)
                gradients = [tf.add(*pair) for pair in zip(gradients, added, strict=True)]
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    step(rows)
    memory.reset_memory_stats("CPU:0")
    before = memory.get_memory_info("CPU:0")["current"]
    step(rows)
    return (memory.get_memory_info("CPU:0")["peak"] - before) / MIB


as_expected = True
for library in (tf_keras, keras):
    least = {}
    for name, make in {
        "SGD": lambda: library.optimizers.SGD(0.01, momentum=0.9),
        "Adam": lambda: library.optimizers.Adam(0.01),
    }.items():
        found = {
            (decay, waits): peak(library, make(), decay=decay, waits=waits)
            for decay in (False, True)
            for waits in (False, True)
        }
        print(
            f"{library.__name__} {name}: {found[False, False]:.0f}, with L2 {found[True, False]:.0f}; "
            f"after the gradients {found[False, True]:.0f}, with L2 {found[True, True]:.0f}"
        )
        more = {decay: (found[decay, False] - found[decay, True]) / WEIGHTS for decay in (False, True)}
        wanted = {False: 1, True: 2} if name == "SGD" else {False: 0, True: 1}
        as_expected &= all(abs(more[decay] - wanted[decay]) < 0.35 for decay in more)
sys.exit(not as_expected)
PYTHON
