#!/usr/bin/env bash
# Keras 3.15.1 on TensorFlow 2.21.0 (the CPU build) and on JAX 0.10.2, and tf_keras 2.21.0: batch norm in
# TimeDistributed, as in networks that apply a 2-D CNN to each frame.
#
# One would expect: what tf_keras does: TimeDistributed folds the frames into the batch, so that
# batch norm takes its moments over all frames. Seen: Keras 3 calls the layer once per frame. Each frame
# is normalised with its own moments, which removes what distinguishes the frames of a clip (here their
# brightness), and the moving statistics are updated once per frame: the variance is the one within
# frames, 1 in place of 125, and the mean leans towards the last frames. What is between -1.3 and 1.3
# in tf_keras is 0 in training and from -16 to 14 in evaluation, without a warning, on TensorFlow and on
# JAX. Batch norm of the 5-D features, outside of
# TimeDistributed, is right in both.
#
# Seen:
#   mean of each frame in training, and of the same clips in evaluation, after 50 steps
#   tf_keras 2.21.0, TimeDistributed: -1.3 -0.4 0.4 1.3; -1.3 -0.4 0.4 1.3 (moving mean 14.9, variance 124.9)
#   tf_keras 2.21.0, 5-D: -1.3 -0.4 0.4 1.3; -1.3 -0.4 0.4 1.3 (moving mean 14.9, variance 124.9)
#   Keras 3.15.1 on tensorflow, TimeDistributed: 0.0 0.0 0.0 0.0; -16.3 -6.4 3.7 13.8 (moving mean 16.3, variance 1.0)
#   Keras 3.15.1 on tensorflow, 5-D: -1.3 -0.4 0.4 1.3; -1.3 -0.4 0.4 1.3 (moving mean 14.9, variance 124.7)
#   Keras 3.15.1 on jax, TimeDistributed: 0.0 0.0 0.0 0.0; -16.3 -6.4 3.7 13.8 (moving mean 16.3, variance 1.0)
#   Keras 3.15.1 on jax, 5-D: -1.3 -0.4 0.4 1.3; -1.3 -0.4 0.4 1.3 (moving mean 14.9, variance 124.7)
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf_keras==2.21.0 keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
cd "$workspace"
cat > normalise.py <<'PYTHON'
"""Prints the means that batch norm gives to each frame of 8 clips, in training and in evaluation."""

import json
import sys

import numpy as np

if sys.argv[1] == "tf_keras":
    import tf_keras as keras

    library = f"tf_keras {keras.__version__}"
else:
    import keras

    library = f"Keras {keras.__version__} on {keras.backend.backend()}"
brightness = np.array([0, 10, 20, 30], np.float32)[:, None, None, None]
noise = np.random.default_rng(0).normal(size=(8, 4, 5, 6, 3)).astype(np.float32)
videos = brightness + noise  # [batch, frames, height, width, channels]
for name in ("TimeDistributed", "5-D"):
    inputs = keras.Input(videos.shape[1:])
    normalise = keras.layers.BatchNormalization(momentum=0.9)
    if name == "TimeDistributed":
        outputs = keras.layers.TimeDistributed(normalise)(inputs)
    else:
        outputs = normalise(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    for _ in range(50):
        model.train_on_batch(videos, videos)
    shown = [np.asarray(model(videos, training=training)) for training in (True, False)]
    statistics = [float(np.mean(np.asarray(weight))) for weight in normalise.get_weights()[2:]]
    print(json.dumps({
        "name": f"{library}, {name}",
        "means": [features.mean((0, 2, 3, 4)).tolist() for features in shown],
        "statistics": statistics,
    }))
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import sys

import numpy as np

as_expected = True
print("mean of each frame in training, and of the same clips in evaluation, after 50 steps")
for library, backend in (("tf_keras", "tensorflow"), ("keras", "tensorflow"), ("keras", "jax")):
    ran = subprocess.run(
        [sys.executable, "normalise.py", library],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu"},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in ran.stdout.splitlines():
        if not line.startswith("{"):
            continue
        answer = json.loads(line)
        training, evaluation = np.round(answer["means"], 1) + 0.0
        mean, variance = answer["statistics"]
        print(f"{answer['name']}:", *training, end="; ")
        print(*evaluation, f"(moving mean {mean:.1f}, variance {variance:.1f})")
        if library == "keras" and "TimeDistributed" in answer["name"]:
            as_expected &= not training.any() and evaluation[-1] > 10 and variance < 2
        else:
            as_expected &= training[-1] > 1 and abs(training - evaluation).max() < 0.2 and variance > 100
sys.exit(not as_expected)
PYTHON
