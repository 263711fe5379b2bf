#!/usr/bin/env bash
# decord 0.6.0 on an MP4 file trimmed by an edit list, as `ffmpeg -ss ... -c copy` writes them; made
# with PyAV 18.1.0. OpenCV 5.0.0.93 for comparison.
#
# One would expect: frame i is the same frame however it is asked for, and there are as many frames
# as are shown. Seen: read in order, decord starts at the edit list's first frame and repeats the
# last one until it has as many as the file stores; asked for one frame by its number, it counts
# some of them from the beginning of the stored frames. reader[24] is another frame than the 25th of
# a loop over the same file. OpenCV counts the stored frames as well, but reads those that are
# shown: sampling by that count asks for frames beyond the end. Clips that were cut from longer
# videos without encoding them again are read shifted in time, or end in a still.
#
# Seen:
#   decord 0.6.0: 30 frames; 25 of 30 stored frames are shown, 5 to 29
#   read in order: 5 6 7 8 ... 26 27 28 29 29 29 29 29 29
#   asked for 0, 10, 24, 25, 29 of a new reader: 5 15 24 25 29; in order these are 5 15 29 29 29
#   OpenCV 5.0.0: frame count 30, frames read 25
#   PyAV 18.1.0: 25 frames, 5 to 29
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  av==18.1.0 numpy==2.4.6 decord==0.6.0 opencv-python-headless==5.0.0.93
cd "$workspace"
 venv/bin/python - <<'PYTHON'
import sys

import av
import cv2
import decord
import numpy as np

with av.open("whole.mp4", "w") as container:
    stream = container.add_stream("libx264", rate=25, options={"bf": "2", "qp": "5"})
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    stream.gop_size = 12
    for index in range(30):
        image = np.full((64, 64, 3), 8 * index, np.uint8)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts = index
        container.mux(stream.encode(frame))
    container.mux(stream.encode())

# Packets before time 0 are kept for the decoder and hidden by an edit list.
options = {"avoid_negative_ts": "disabled"}
with av.open("whole.mp4") as source, av.open("trimmed.mp4", "w", options=options) as target:
    stream = source.streams.video[0]
    copied = target.add_stream_from_template(stream)
    hidden = round(5 / 25 / stream.time_base)
    for packet in source.demux(stream):
        if packet.dts is not None:
            packet.pts -= hidden
            packet.dts -= hidden
            packet.stream = copied
            target.mux(packet)


def number(image):
    return round(float(np.mean(image)) / 8)


WANTED = [0, 10, 24, 25, 29]
with av.open("trimmed.mp4") as container:
    shown = [number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
reader = decord.VideoReader("trimmed.mp4")
ordered = [number(reader[index].asnumpy()) for index in range(len(reader))]
reader = decord.VideoReader("trimmed.mp4")
asked = [number(image) for image in reader.get_batch(WANTED).asnumpy()]
capture = cv2.VideoCapture("trimmed.mp4")
count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
read = 0
while capture.read()[0]:
    read += 1
in_order = [ordered[index] for index in WANTED]
print(f"decord {decord.__version__}: {len(reader)} frames; "
      f"{len(shown)} of 30 stored frames are shown, {shown[0]} to {shown[-1]}")
print("read in order:", *ordered[:4], "...", *ordered[-9:])
print("asked for 0, 10, 24, 25, 29 of a new reader:", *asked, end="; ")
print("in order these are", *in_order)
print(f"OpenCV {cv2.__version__}: frame count {count}, frames read {read}")
print(f"PyAV {av.__version__}: {len(shown)} frames, {shown[0]} to {shown[-1]}")
sys.exit(
    shown != list(range(5, 30))
    or len(ordered) != 30
    or ordered[:25] != shown
    or asked == in_order
    or (count, read) != (30, 25)
)
PYTHON
