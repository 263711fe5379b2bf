"""Sizes of frames: what may be decoded, what a player shows, and the resize to it."""

from __future__ import annotations

import os
from fractions import Fraction

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.video.numpy_resize import resize_picture
from perfnet_tf.video.opening import VideoError
from perfnet_tf.video.optional_opencv import find_opencv

Size = tuple[int, int]  # width, height

#: Longest side of a frame in pixels, and most pixels in one, that are decoded or made; 8K has
#: 7680x4320, half as many. A damaged header may ask for 800 MB a frame.
MAX_SIDE = 16384
MAX_PIXELS = 2**26

#: A sample aspect ratio within 1 % of 1 is a rounding error of whoever resized the video (half of
#: UCF-101 states 4096:4083), and one beyond 10 is nobody's.
_SQUARE = 0.01
_WIDEST_PIXEL = 10


def check_short_side(short_side: int | None) -> None:
    """Raises `InputError` unless `short_side` is None or a side that frames may have."""
    if short_side is not None and not 1 <= short_side <= MAX_SIDE:
        raise InputError(f"short_side must be in [1, {MAX_SIDE}]. Received: {short_side!r}.")


def check_size(size: Size, path: str | os.PathLike[str]) -> None:
    """Raises `VideoError` unless frames of `size` may be decoded."""
    width, height = size
    if not (0 < min(size) <= max(size) <= MAX_SIDE) or width * height > MAX_PIXELS:
        raise VideoError(
            f"A video's sides must be 1 to {MAX_SIDE} pixels, and {MAX_PIXELS} pixels in all "
            f"at most. Received: {path}, which says {width}x{height}."
        )


def display_size(stored: Size, pixel_aspect: Fraction | None) -> Size:
    """The size at which a player shows frames: one side stretched by the sample aspect ratio.

    Args:
        stored: size of the decoded frames.
        pixel_aspect: width of a pixel by its height; None where the file states none.
    """
    width, height = stored
    if (
        not pixel_aspect
        or not 1 / _WIDEST_PIXEL <= pixel_aspect <= _WIDEST_PIXEL
        or abs(pixel_aspect - 1) <= _SQUARE
    ):
        return stored
    if pixel_aspect > 1:
        return int(width * pixel_aspect + Fraction(1, 2)), height
    return width, int(height / pixel_aspect + Fraction(1, 2))  # nothing is shrunk, as in Chromium


def target_size(size: Size, short_side: int | None, path: str | os.PathLike[str]) -> Size:
    """`size` with the shorter side `short_side` (None keeps it), the aspect kept.

    Raises:
        VideoError: the result is larger than frames may be.
    """
    width, height = size
    result = size
    if short_side is not None and short_side != min(size):
        scale = short_side / min(size)
        result = (max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5)))
    if max(result) > MAX_SIDE or result[0] * result[1] > MAX_PIXELS:
        raise VideoError(
            f"A resized side must be at most {MAX_SIDE} pixels, and {MAX_PIXELS} pixels in all. "
            f"Received: {path}, {width}x{height}, which a shorter side of "
            f"{short_side or min(size)} makes {result[0]}x{result[1]}."
        )
    return result


def resize(frame: np.ndarray, size: Size, out: np.ndarray | None = None) -> np.ndarray:
    """`[height, width, channels]` at `size`: area interpolation down, linear up.

    `out`, of the result's shape and dtype, takes and is the result, unless nothing is to be done.
    """
    if size == frame.shape[1::-1]:
        return frame
    return resample(frame, size, shrinks=size[0] < frame.shape[1], out=out)


def resample(
    frame: np.ndarray, size: Size, *, shrinks: bool, out: np.ndarray | None = None
) -> np.ndarray:
    """uint8 or uint16 `[height, width, channels]` at `size`; area interpolation if it shrinks.

    `out`, of the result's shape and dtype, takes and is the result.
    """
    cv2 = find_opencv()
    if cv2 is not None:
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(frame, size, dst=out, interpolation=interpolation))
    result = resize_picture(frame, *size, area=shrinks)
    if out is None:
        return result
    out[...] = result
    return out


def fit(frame: np.ndarray, shown: Size, size: Size) -> np.ndarray:
    """A frame that is shown at the size `shown`, as large as it fits into `size`; black around."""
    scale = min(size[0] / shown[0], size[1] / shown[1])
    width, height = (
        min(limit, max(1, int(side * scale + 0.5))) for side, limit in zip(shown, size, strict=True)
    )
    result = np.zeros((size[1], size[0], frame.shape[2]), frame.dtype)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    result[top : top + height, left : left + width] = resize(frame, (width, height))
    return result
