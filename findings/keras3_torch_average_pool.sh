#!/usr/bin/env bash
# Keras 3.15.1 with the TensorFlow 2.21.0 (the CPU build) and the torch 2.13.0 backend.
#
# One would expect: average pooling with padding="same" leaves the padding out of its means on each
# backend, so that a saved network answers alike. Seen: with torch, where the padding cannot be the same
# at both ends (even kernels, or strides), Keras repeats the border's values first and counts them, so
# that the ends of each axis get other means. In three dimensions that is more than half of a small
# feature map. Where the padding is the same at both ends the backends agree.
#
# Seen:
#   Keras 3.15.1, backend tensorflow
#   means of 1 to 6, kernel 3, stride 1: 1.5 2.0 3.0 4.0 5.0 5.5
#   means of 1 to 6, kernel 3, stride 2: 2.0 4.0 5.5
#   means of 1 to 6, kernel 4, stride 1: 2.0 2.5 3.5 4.5 5.0 5.5
#   three dimensions, 8x8x8, kernel 3, stride 2: 0 of 64 means differ from those of the values
#   Keras 3.15.1, backend torch
#   means of 1 to 6, kernel 3, stride 1: 1.5 2.0 3.0 4.0 5.0 5.5
#   means of 1 to 6, kernel 3, stride 2: 2.0 4.0 5.667
#   means of 1 to 6, kernel 4, stride 1: 1.75 2.5 3.5 4.5 5.25 5.75
#   three dimensions, 8x8x8, kernel 3, stride 2: 37 of 64 means differ from those of the values
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 keras==3.15.1 torch==2.13.0
cd "$workspace"
cat >check.py <<'PYTHON'
import sys

import keras
import numpy as np

backend = keras.backend.backend()
print(f"Keras {keras.__version__}, backend {backend}")
frames = np.arange(1, 7, dtype=np.float32)
seen = []
for kernel, stride in ((3, 1), (3, 2), (4, 1)):
    layer = keras.layers.AveragePooling1D(kernel, stride, "same")
    made = keras.ops.convert_to_numpy(layer(frames[None, :, None]))[0, :, 0]
    seen.append([round(float(value), 3) for value in made])
    print(f"means of 1 to 6, kernel {kernel}, stride {stride}:", *seen[-1])
clip = np.random.default_rng(0).uniform(0, 1, [1, 8, 8, 8, 1]).astype(np.float32)
layer = keras.layers.AveragePooling3D(3, 2, "same")
made = keras.ops.convert_to_numpy(layer(clip))[0, ..., 0]
right = np.zeros([4, 4, 4])
for place in np.ndindex(4, 4, 4):
    time, row, column = (2 * index for index in place)
    right[place] = clip[0, time : time + 3, row : row + 3, column : column + 3].mean()
wrong = int((np.abs(made - right) > 1e-5).sum())
print(f"three dimensions, 8x8x8, kernel 3, stride 2: {wrong} of 64 means differ from those of the values")
plain = {
    "tensorflow": [[1.5, 2, 3, 4, 5, 5.5], [2, 4, 5.5], [2, 2.5, 3.5, 4.5, 5, 5.5]],
    "torch": [[1.5, 2, 3, 4, 5, 5.5], [2, 4, 5.667], [1.75, 2.5, 3.5, 4.5, 5.25, 5.75]],
}[backend]
sys.exit(seen != plain or (wrong > 0) != (backend == "torch"))
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
KERAS_BACKEND=tensorflow venv/bin/python check.py
KERAS_BACKEND=torch venv/bin/python check.py
