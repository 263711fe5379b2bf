#!/usr/bin/env bash
# Keras 3.15.1 with the TensorFlow 2.21.0 (the CPU build) and the JAX 0.10.2 backend.
#
# One would expect: keras.ops.image.gaussian_blur, called as its documentation does, gives the same
# picture on each backend, as bright as its input. Seen: with JAX it takes width and channels for
# height and width: frames are blurred along one axis and their colours mixed, so that grey frames
# turn green. Naming
# data_format="channels_last", which is the default, gives the right picture.
#
# Seen:
#   Keras 3.15.1, backend tensorflow
#   a white pixel in red: 0.075 0.124 0.075 / 0.124 0.204 0.124 / 0.075 0.124 0.075, sum 1.00
#   a white pixel in green: 0.075 0.124 0.075 / 0.124 0.204 0.124 / 0.075 0.124 0.075, sum 1.00
#   a white pixel in blue: 0.075 0.124 0.075 / 0.124 0.204 0.124 / 0.075 0.124 0.075, sum 1.00
#   a grey frame of 100 becomes 100 100 100; with data_format named 100 100 100
#   Keras 3.15.1, backend jax
#   a white pixel in red: 0.000 0.000 0.000 / 0.199 0.328 0.199 / 0.000 0.000 0.000, sum 0.73
#   a white pixel in green: 0.000 0.000 0.000 / 0.274 0.452 0.274 / 0.000 0.000 0.000, sum 1.00
#   a white pixel in blue: 0.000 0.000 0.000 / 0.199 0.328 0.199 / 0.000 0.000 0.000, sum 0.73
#   a grey frame of 100 becomes 73 100 73; with data_format named 100 100 100
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 keras==3.15.1 jax==0.10.2 jaxlib==0.10.2
cd "$workspace"
cat >check.py <<'PYTHON'
import sys

import keras
import numpy as np

print(f"Keras {keras.__version__}, backend {keras.backend.backend()}")
pixel = np.zeros([1, 7, 7, 3], np.float32)
pixel[0, 3, 3] = 1
grey = np.full([1, 7, 7, 3], 100, np.float32)


def blurred(frames, **arguments):
    made = keras.ops.image.gaussian_blur(frames, (3, 3), (1.0, 1.0), **arguments)
    return keras.ops.convert_to_numpy(made)[0]


spread = blurred(pixel)
for channel, name in enumerate(("red", "green", "blue")):
    rows = [" ".join(f"{value:.3f}" for value in row) for row in spread[2:5, 2:5, channel]]
    print(f"a white pixel in {name}: {' / '.join(rows)}, sum {spread[..., channel].sum():.2f}")
middle = [round(float(value)) for value in blurred(grey)[3, 3]]
named = [round(float(value)) for value in blurred(grey, data_format="channels_last")[3, 3]]
print("a grey frame of 100 becomes", *middle, end="; ")
print("with data_format named", *named)
kept = middle == named == [100, 100, 100] and spread[2, 3].any()
lost = middle == [73, 100, 73] and named == [100, 100, 100] and not spread[[2, 4]].any()
sys.exit(not {"tensorflow": kept, "jax": lost}[keras.backend.backend()])
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 JAX_PLATFORMS=cpu
KERAS_BACKEND=tensorflow venv/bin/python check.py
KERAS_BACKEND=jax venv/bin/python check.py
