#!/usr/bin/env bash
# Keras 3.15.1 and tf_keras 2.21.0 with TensorFlow 2.21.0 (the CPU build), under MirroredStrategy of
# two logical CPU devices.
#
# One would expect: Keras 3 does as tf_keras does: batch norm's moving statistics are averaged over
# replicas, and each replica draws its own dropout mask. Seen: in Keras 3 the first replica's
# statistics are kept and the others' dropped, and all replicas draw the same mask. Nothing warns.
# With n GPUs a network is evaluated with the moments of 1/n of its batches, and dropout varies n
# times less within a batch.
#
# Seen:
#   TensorFlow 2.21.0
#   tf_keras 2.21.0: moving mean of replicas that see 0 and 8: 4.0; dropout masks differ
#   keras 3.15.1: moving mean of replicas that see 0 and 8: 0.0; dropout masks are the same
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
import numpy as np
import tensorflow as tf
import tf_keras

print("TensorFlow", tf.__version__)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
inputs = np.repeat([[0.0], [8.0]], 4, axis=0).astype(np.float32)
seen = []
for library in (tf_keras, keras):
    layers = library.layers
    with strategy.scope():
        norm = layers.BatchNormalization(momentum=0.0)
        network = library.Sequential([layers.Input([1]), norm])
        network.compile("sgd", "mse", jit_compile=False)
        dropout = library.Sequential([layers.Input([64]), layers.Dropout(0.5)])
    batches = tf.data.Dataset.from_tensor_slices((inputs, np.zeros_like(inputs))).batch(8)
    network.fit(batches, epochs=1, shuffle=False, verbose=0)
    mean = float(np.asarray(norm.moving_mean)[0])
    run = tf.function(lambda: strategy.run(lambda: dropout(tf.ones([1, 64]), training=True)))
    first, second = strategy.experimental_local_results(run())
    same = bool(np.array_equal(first, second))
    print(f"{library.__name__} {library.__version__}: moving mean of replicas that see 0 and 8: "
          f"{mean}; dropout masks {'are the same' if same else 'differ'}")
    seen.append((mean, same))
sys.exit(seen != [(4.0, False), (0.0, True)])
PYTHON
