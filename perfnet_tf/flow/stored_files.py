"""Optical flow files of other programs, read and written.

8-bit pictures, one of each component, hold `round(255 * (flow + bound) / (2 * bound))`, clipped to
0..255. No flow is then 127.5, which all of these writers round to the level 128:

- dense_flow (yjxiong) and denseflow (open-mmlab), `convertFlowToImage`: `flow_x_00001.jpg`;
  dense_flow counts from 1, denseflow from 0; the bound is their flag `-b`, 20 in their examples;
- gpu_flow (Feichtenhofer), which wrote the published flow of twostreamfusion:
  `u/CLIP/frame000001.jpg` from 1, the bound 20.

mmaction2's `tools/misc/flow_extraction.py` truncates where the others round: its zero is 127.

A `.flo` file (Middlebury, `flowIO.cpp`) is little endian: the float 202021.25, width and height as
int32, and float32 (dx, dy) of each pixel, row by row; beyond 1e9 a value is unknown.
"""

from __future__ import annotations

import pathlib

import numpy as np

from perfnet_tf.errors import InputError

#: Pixels per frame at the ends of the 8 bits, and the level of no flow, of the usual writers.
FILES_BOUND = 20.0
FILES_ZERO = 128.0

_FLO_MAGIC = np.float32(202021.25)
_FLO_UNKNOWN = 1e9
_LARGEST_LEVEL = 255
#: OpenCV's, and so that of dense_flow and denseflow.
_JPEG_QUALITY = 95


def flow_to_levels(flow: np.ndarray, bound: float = FILES_BOUND) -> np.ndarray:
    """The 8-bit levels of dense_flow and denseflow.

    Args:
        flow: float, any shape, pixels per frame.
        bound: pixels per frame; faster motion is clipped.

    Returns:
        uint8 of the same shape; no flow is 128.
    """
    levels = np.rint((np.asarray(flow, np.float64) + bound) * (_LARGEST_LEVEL / (2 * bound)))
    return np.clip(levels, 0, _LARGEST_LEVEL).astype(np.uint8)


def levels_to_flow(
    levels: np.ndarray, bound: float = FILES_BOUND, zero: float = FILES_ZERO
) -> np.ndarray:
    """The flow of 8-bit levels, float32 of the same shape.

    With the zero 128 what does not move is exactly 0, and the rest is within a level
    (`2 * bound / 255`) of what was written.
    """
    step = np.float32(2 * bound / _LARGEST_LEVEL)
    return (np.asarray(levels, np.float32) - np.float32(zero)) * step


def write_picture(path: pathlib.Path, levels: np.ndarray) -> None:
    """Writes uint8 `[height, width]` as JPEG of OpenCV's usual quality."""
    from perfnet_tf.opencv import cv2

    _, encoded = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    path.write_bytes(encoded.tobytes())


def read_flo(path: pathlib.Path) -> np.ndarray:
    """A `.flo` file as float32 `[height, width, 2]`, (dx, dy).

    Raises:
        InputError: it is none, or has unknown values.
    """
    data = path.read_bytes()
    header = np.frombuffer(data[:12], "<i4")
    if len(header) < 3 or np.frombuffer(data[:4], "<f4")[0] != _FLO_MAGIC:
        raise InputError(f"A .flo file begins with 202021.25. Received: {path}, which does not.")
    width, height = int(header[1]), int(header[2])
    if min(width, height) < 1 or len(data) != 12 + 8 * width * height:
        raise InputError(
            "A .flo file holds two floats for each pixel. Received: "
            f"{path} with {len(data) - 12} bytes for {width}x{height} pixels."
        )
    flow = np.frombuffer(data[12:], "<f4").reshape(height, width, 2).astype(np.float32)
    if not (np.abs(flow) <= _FLO_UNKNOWN).all():
        raise InputError(f"Flow must be known everywhere. Received: {path}, where some is not.")
    return flow


def write_flo(path: pathlib.Path, flow: np.ndarray) -> None:
    """Writes float `[height, width, 2]` as a `.flo` file."""
    height, width, _ = flow.shape
    header = _FLO_MAGIC.astype("<f4").tobytes() + np.array([width, height], "<i4").tobytes()
    path.write_bytes(header + np.ascontiguousarray(flow, "<f4").tobytes())


def resize_flow(flow: np.ndarray, height: int, width: int) -> np.ndarray:
    """Flow for frames of another size: resampled, and its vectors scaled as the frames are.

    Args:
        flow: float32 `[frames, h, w, 2]`, pixels per frame of frames of h x w.
        height, width: of the frames that it is for.

    Returns:
        float32 `[frames, height, width, 2]`, pixels per frame of these frames.
    """
    old_height, old_width = flow.shape[1:3]
    if (old_height, old_width) == (height, width):
        return flow
    from perfnet_tf.opencv import cv2

    interpolation = cv2.INTER_AREA if width < old_width else cv2.INTER_LINEAR
    scale = np.array([width / old_width, height / old_height], np.float32)
    resized = [cv2.resize(one, (width, height), interpolation=interpolation) for one in flow]
    return np.stack(resized) * scale
