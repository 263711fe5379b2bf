#!/usr/bin/env bash
# OpenCV's pip wheels 4.13.0.92 and 5.0.0.93 (FFmpeg backend), against 4.11.0.86, on interlaced video.
#
# One would expect: interlaced video (DV tapes, DVDs, old broadcasts) is read with combing, as by
# 4.11, or, if a frame cannot be converted, read() returns False. Seen: in 4.13 and 5.0 read()
# returns True for every frame and none holds the picture. The FFmpeg inside refuses to convert a
# frame flagged as interlaced into one that is not ("Cannot convert interlaced to progressive frames
# or vice versa", on stderr only), OpenCV ignores that and returns a buffer that does not hold the
# picture. The number of frames is right. The flag alone decides: the same pictures
# encoded without it are read well, and 4.11 reads both.
#
# Seen:
#   PyAV 18.1.0 reads mpeg2video, interlaced: 12 of 12 frames show the bar
#   PyAV 18.1.0 reads mpeg4, interlaced: 12 of 12 frames show the bar
#   OpenCV 4.11.0: mpeg2video, progressive: 12 frames returned, 12 show the bar
#   OpenCV 4.11.0: mpeg2video, interlaced: 12 frames returned, 12 show the bar
#   OpenCV 4.11.0: mpeg4, progressive: 12 frames returned, 12 show the bar
#   OpenCV 4.11.0: mpeg4, interlaced: 12 frames returned, 12 show the bar
#   OpenCV 4.13.0: mpeg2video, progressive: 12 frames returned, 12 show the bar
#   OpenCV 4.13.0: mpeg2video, interlaced: 12 frames returned, 0 show the bar
#   OpenCV 4.13.0: mpeg4, progressive: 12 frames returned, 12 show the bar
#   OpenCV 4.13.0: mpeg4, interlaced: 12 frames returned, 0 show the bar
#   OpenCV 5.0.0: mpeg2video, progressive: 12 frames returned, 12 show the bar
#   OpenCV 5.0.0: mpeg2video, interlaced: 12 frames returned, 0 show the bar
#   OpenCV 5.0.0: mpeg4, progressive: 12 frames returned, 12 show the bar
#   OpenCV 5.0.0: mpeg4, interlaced: 12 frames returned, 0 show the bar
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
pip() { "$workspace/venv/bin/pip" install --quiet --disable-pip-version-check "$@"; }
pip numpy==2.4.6 av==18.1.0
for version in 4.11.0.86 4.13.0.92 5.0.0.93; do
  pip --no-deps --target "$workspace/opencv-$version" "opencv-python-headless==$version"
done
cd "$workspace"

cat >bar.py <<'PYTHON'
"""A bright bar that moves 16 columns per frame, and whether a frame shows it in its place."""

import numpy as np

COUNT, HEIGHT, WIDTH = 12, 192, 320


def draw(time):
    image = np.full([HEIGHT, WIDTH, 3], 30, np.uint8)
    image[:, 16 * time : 16 * time + 64] = 220
    return image


def shows(image, time):
    return float(np.abs(image.astype(int) - draw(time)).mean()) < 5
PYTHON

venv/bin/python - <<'PYTHON'
import sys

import av
from av.codec.context import Flags
from bar import COUNT, HEIGHT, WIDTH, draw, shows

for codec in ("mpeg2video", "mpeg4"):
    for kind in ("progressive", "interlaced"):
        path = f"{codec}-{kind}.avi"
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.bit_rate = 4_000_000
            if kind == "interlaced":
                stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
            for time in range(COUNT):
                frame = av.VideoFrame.from_ndarray(draw(time), format="rgb24")
                frame = frame.reformat(format="yuv420p")
                frame.pts = time
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        with av.open(path) as container:
            frames = list(container.decode(video=0))
        if any(frame.interlaced_frame != (kind == "interlaced") for frame in frames):
            sys.exit(f"{path} was not encoded as {kind}")
        good = sum(
            shows(frame.to_ndarray(format="rgb24"), time) for time, frame in enumerate(frames)
        )
        if kind == "interlaced":
            print(f"PyAV {av.__version__} reads {codec}, {kind}: {good} of {COUNT} frames show the bar")
        if good != COUNT:
            sys.exit(1)
PYTHON

cat >read.py <<'PYTHON'
import sys

import cv2
from bar import COUNT, shows

changed = False
for codec in ("mpeg2video", "mpeg4"):
    for kind in ("progressive", "interlaced"):
        video = cv2.VideoCapture(f"{codec}-{kind}.avi", cv2.CAP_FFMPEG)
        frames = []
        while True:
            read, frame = video.read()
            if not read:
                break
            frames.append(frame.copy())
        good = sum(shows(frame, time) for time, frame in enumerate(frames))
        print(f"OpenCV {cv2.__version__}: {codec}, {kind}: {len(frames)} frames returned, {good} show the bar")
        broken = kind == "interlaced" and not cv2.__version__.startswith("4.11.")
        changed |= (len(frames), good) != (COUNT, 0 if broken else COUNT)
sys.exit(changed)
PYTHON
for version in 4.11.0.86 4.13.0.92 5.0.0.93; do
  PYTHONPATH="opencv-$version" venv/bin/python read.py 2>errors.txt || { cat errors.txt; exit 1; }
done
