#!/usr/bin/env bash
# OpenCV's wheel 5.0.0.93 seeking by time in a video of variable frame rate, made with PyAV 18.1.0.
#
# One would expect: `set(CAP_PROP_POS_MSEC, t)` and `read` give the frame shown at t, the one for
# which `get(CAP_PROP_POS_MSEC)` says t. Seen: OpenCV multiplies t by the average frame rate and
# seeks to the frame of that number. Where frames are not evenly spaced that is another one, and
# late times that the file has frames for give nothing. Phones and screen recorders write such
# files: segments cut by their annotated times are taken from elsewhere in the video. Times read
# frame by frame are right.
#
# Seen:
#   OpenCV 5.0.0: times of the frames while reading, in ms: 0 40 80 120 400 440 480 520 1600 1640
#   frames given for these times: 0 0 0 1 2 3 3 3 none none
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  av==18.1.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
cd "$workspace"
 venv/bin/python - <<'PYTHON'
import sys

import av
import cv2
import numpy as np

TICKS = [0, 1, 2, 3, 10, 11, 12, 13, 40, 41]  # of 40 ms
with av.open("variable.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"qp": "5", "bf": "0"})
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for index, tick in enumerate(TICKS):
        image = np.full((64, 64, 3), 8 * index, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = tick
        container.mux(stream.encode(frame))
    container.mux(stream.encode())

capture, times = cv2.VideoCapture("variable.mp4"), []
while capture.grab():
    times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
print(f"OpenCV {cv2.__version__}: times of the frames while reading, in ms:", *times)
capture, given = cv2.VideoCapture("variable.mp4"), []
for time in times:
    capture.set(cv2.CAP_PROP_POS_MSEC, time)
    read, frame = capture.read()
    given.append(round(frame.mean() / 8) if read else None)
print("frames given for these times:", *("none" if number is None else number for number in given))
sys.exit(times != [40 * tick for tick in TICKS] or given[-1] is not None or given[4] == 4)
PYTHON
