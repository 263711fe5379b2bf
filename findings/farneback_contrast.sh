#!/usr/bin/env bash
# OpenCV 4.13.0's and 5.0.0's calcOpticalFlowFarneback, with the arguments of OpenCV's own tutorial,
# on 8-bit frames of a smooth texture that moves by 3 pixels.
#
# One would expect: the flow does not depend on the exposure. In Farneback's equations the squared contrast
# is a factor of both sides, and cancels. Seen: the fewer grey levels a texture has, the shorter its
# flow, down to nothing, as if it stood still. At an eighth of the exposure, 3 pixels become 0.69. The
# motion is in the frames: DIS, of the same library, finds all 3 pixels in them, and so does Farneback
# once the darkest ones are multiplied by 16. Within one frame, what is in the shadow moves slower
# than what is in the light. Magnitudes of flow, and networks that are trained on them, measure the light
# as well. It helps to stretch the contrast of both frames alike before taking the flow.
#
# Seen:
#   OpenCV 4.13.0: exposures 1 1/2 1/4 1/8 1/16; standard deviations 43 21 11 5 3 of 255
#     Farneback, pixels to the right: 3.00 2.94 2.38 0.69 0.06
#     DIS, pixels to the right: 3.00 3.00 3.00 3.01 2.99
#     Farneback, the frames of 1/16 multiplied by 16: 3.00
#     Farneback, one frame, half of it at 1/8: 3.00 in the light, 0.50 in the shadow
#   and the same of OpenCV 5.0.0
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
pip() { "$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile "$@"; }
pip numpy==2.4.6
for version in 4.13.0.92 5.0.0.93; do
  pip --no-deps --target "$workspace/$version" "opencv-python-headless==$version"
done
cd "$workspace"
cat > flow.py <<'PYTHON'
"""Prints the mean horizontal flow of a texture that moves by 3 pixels, at several exposures, and checks it."""

import sys

import cv2
import numpy as np

INSIDE = (slice(40, -40), slice(40, -40))
texture = np.random.default_rng(0).uniform(size=(240, 420)).astype(np.float32)
texture = cv2.GaussianBlur(texture, (0, 0), 4)
texture = np.clip(110 + 45 * (texture - texture.mean()) / texture.std(), 0, 255)  # of 0 to 255


def moved(light):
    """Two frames of 8 bits; the second one is 3 pixels further to the right."""
    window = texture[20:-20, 20:-20]
    further = texture[20:-20, 17:-23]
    return [np.round(light * frame).astype(np.uint8) for frame in (window, further)]


def farneback(first, second):
    return cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)[..., 0]


def dis(first, second):
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(first, second, None)[..., 0]


lights = [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
pairs = [moved(light) for light in lights]
spread = [f"{first.std():.0f}" for first, _ in pairs]
print(f"OpenCV {cv2.__version__}: exposures 1 1/2 1/4 1/8 1/16; standard deviations", *spread, "of 255")
seen = {
    name: [float(flow(*pair)[INSIDE].mean()) for pair in pairs]
    for name, flow in (("Farneback", farneback), ("DIS", dis))
}
for name, flows in seen.items():
    print(f"  {name}, pixels to the right:", *(f"{flow:.2f}" for flow in flows))
brighter = float(farneback(*(16 * frame for frame in pairs[-1]))[INSIDE].mean())
print(f"  Farneback, the frames of 1/16 multiplied by 16: {brighter:.2f}")
light = np.where(np.arange(texture.shape[1] - 40) < 190, 1, 1 / 8)
halves = farneback(*moved(light))[INSIDE]
lit, shadow = float(halves[:, :100].mean()), float(halves[:, -100:].mean())
print(f"  Farneback, one frame, half of it at 1/8: {lit:.2f} in the light, {shadow:.2f} in the shadow")
right = [*seen["DIS"], seen["Farneback"][0], brighter, lit]
falls = all(np.diff(seen["Farneback"]) < 0) and seen["Farneback"][-1] < 0.3 and shadow < 1.5
sys.exit(not (falls and all(abs(flow - 3) < 0.2 for flow in right)))
PYTHON
for version in 4.13.0.92 5.0.0.93; do
  PYTHONPATH="$version" venv/bin/python flow.py
done
