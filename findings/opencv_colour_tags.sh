#!/usr/bin/env bash
# OpenCV's pip wheels 4.11.0.86, 4.13.0.92 and 5.0.0.93 (FFmpeg backend) on files made with PyAV 18.1.0.
#
# One would expect: a file keeps its colours when OpenCV is upgraded, and OpenCV and PyAV, which both
# read it through FFmpeg, agree. Seen: 4.11 ignores what the file says about its colours and converts
# everything as BT.601. 4.13 and 5.0 use the file's matrix, as PyAV does, so that the colours of BT.709,
# which is most HD video, move by several levels. Where the file also names primaries and transfer curve
# as HDR video does (HLG over BT.2020, as phones record it), they convert those as well, which PyAV leaves
# alone: one colour is off by 50 levels between the two. Only files without tags, or with BT.601, are the
# same in all. Nothing warns. A network that was trained on the frames of one reader or version receives
# other colours from the next. What helps is one reader, in one version, for training and prediction.
#
# Seen:
#   untagged, by formula: 161 98 33
#   BT.601, by formula: 161 98 33
#   BT.709, by formula: 167 101 29
#   BT.2020, by formula: 163 96 28
#   HLG, by formula: 163 96 28
#   untagged, by PyAV 18.1.0: 160 96 32
#   BT.601, by PyAV 18.1.0: 160 96 32
#   BT.709, by PyAV 18.1.0: 166 99 28
#   BT.2020, by PyAV 18.1.0: 162 95 27
#   HLG, by PyAV 18.1.0: 162 95 27
#   untagged, by OpenCV 4.11.0: 160 96 32
#   BT.601, by OpenCV 4.11.0: 160 96 32
#   BT.709, by OpenCV 4.11.0: 160 96 32
#   BT.2020, by OpenCV 4.11.0: 160 96 32
#   HLG, by OpenCV 4.11.0: 160 96 32
#   untagged, by OpenCV 4.13.0: 160 96 32
#   BT.601, by OpenCV 4.13.0: 160 96 32
#   BT.709, by OpenCV 4.13.0: 166 99 28
#   BT.2020, by OpenCV 4.13.0: 162 95 27
#   HLG, by OpenCV 4.13.0: 215 100 0
#   untagged, by OpenCV 5.0.0: 160 96 32
#   BT.601, by OpenCV 5.0.0: 160 96 32
#   BT.709, by OpenCV 5.0.0: 166 99 28
#   BT.2020, by OpenCV 5.0.0: 162 95 27
#   HLG, by OpenCV 5.0.0: 215 100 0
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
pip() { "$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile "$@"; }
pip numpy==2.4.6 av==18.1.0
for version in 4.11.0.86 4.13.0.92 5.0.0.93; do
  pip --no-deps --target "$workspace/$version" "opencv-python-headless==$version"
done
cd "$workspace"
cat > read.py <<'PYTHON'
"""Prints OpenCV's version, and the colour that it reads from each video, as JSON."""

import json
import pathlib

import cv2

colours = {}
for path in sorted(pathlib.Path(".").glob("*.mp4")):
    given, frame = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG).read()
    assert given, path
    colours[path.stem] = frame[24, 32, ::-1].tolist()
print(json.dumps({"version": cv2.__version__, "colours": colours}))
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import sys

import av
import numpy as np

luma, blue, red = 110, 90, 160
# Matrix, primaries and transfer, in the numbers of ITU-T H.273; 2 is unspecified.
files = {"untagged": None, "BT.601": (6, 6, 6), "BT.709": (1, 1, 1), "BT.2020": (9, 2, 2), "HLG": (9, 9, 18)}
for name, tags in files.items():
    with av.open(f"{name}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream.options = {"qp": "0"}
        frame = av.VideoFrame(64, 48, "yuv420p")
        for plane, value in zip(frame.planes, (luma, blue, red)):
            plane.update(bytes([value]) * plane.buffer_size)
        for tagged in (stream.codec_context, frame) if tags else ():
            tagged.colorspace, tagged.color_primaries, tagged.color_trc = tags
            tagged.color_range = 1
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def converted(red_weight, blue_weight):
    """The RGB that a matrix of these weights gives, with the primaries and the transfer left alone."""
    y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    r, b = y + 2 * (1 - red_weight) * cr, y + 2 * (1 - blue_weight) * cb
    g = (y - red_weight * r - blue_weight * b) / (1 - red_weight - blue_weight)
    return [round(255 * float(value)) for value in np.clip([r, g, b], 0, 1)]


bt601, bt709, bt2020 = converted(0.299, 0.114), converted(0.2126, 0.0722), converted(0.2627, 0.0593)
matrix = {"untagged": bt601, "BT.601": bt601, "BT.709": bt709, "BT.2020": bt2020, "HLG": bt2020}
seen = {"formula": matrix}
seen[f"PyAV {av.__version__}"] = {
    name: next(av.open(f"{name}.mp4").decode(video=0)).to_ndarray(format="rgb24")[24, 32].tolist()
    for name in files
}
for version in ("4.11.0.86", "4.13.0.92", "5.0.0.93"):
    ran = subprocess.run(
        [sys.executable, "read.py"],
        env={**os.environ, "PYTHONPATH": version},
        check=True,
        capture_output=True,
        text=True,
    )
    answer = json.loads(ran.stdout.splitlines()[-1])
    seen[f"OpenCV {answer['version']}"] = answer["colours"]
for reader, colours in seen.items():
    for name in files:
        print(f"{name}, by {reader}:", *colours[name])
expected = {
    "formula": matrix,
    "PyAV 18.1.0": matrix,
    "OpenCV 4.11.0": dict.fromkeys(files, bt601),
    "OpenCV 4.13.0": matrix | {"HLG": [215, 100, 0]},
    "OpenCV 5.0.0": matrix | {"HLG": [215, 100, 0]},
}
sys.exit(seen.keys() != expected.keys() or any(
    abs(np.subtract(colours[name], expected[reader][name])).max() > 4
    for reader, colours in seen.items()
    for name in files
))
PYTHON
