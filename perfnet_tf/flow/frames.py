"""Frames as the flow methods take them: grey, 0..255."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError

#: ITU-R BT.601 luma, the weights of OpenCV's RGB to grey.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def gray_frames(frames: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Grey frames, 0..255, rounded to whole levels when they come from bytes.

    Args:
        frames: `[frames, height, width, 3]` RGB or `[frames, height, width]` grey; uint8 0..255 or
            float 0..1.

    Returns:
        float32 `[frames, height, width]`.

    Raises:
        InputError: another shape or dtype, no pixels, or a value that is not finite as float32.
    """
    array = _as_numpy(frames)
    if not (array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 3)):
        raise InputError(
            "frames must have the shape [frames, height, width, 3] or [frames, height, width]. "
            f"Received: {list(array.shape)}."
        )
    if 0 in array.shape:
        raise InputError(f"frames must hold at least one pixel. Received: {list(array.shape)}.")
    if array.dtype == np.uint8:
        if array.ndim == 3:
            return array.astype(np.float32)
        # A frame at a time, so that a long video never exists as float RGB. Rounded as OpenCV does.
        return np.stack([np.rint(frame.astype(np.float32) @ _LUMA) for frame in array])
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"frames must be uint8 0..255 or float 0..1. Received: {array.dtype}.")
    with np.errstate(over="ignore", invalid="ignore"):
        if array.ndim == 4:
            array = np.stack([frame.astype(np.float32) @ _LUMA for frame in array])
        gray = array.astype(np.float32) * np.float32(255)
    if not np.isfinite(gray).all():
        raise InputError(
            "frames must be finite, float ones in 0..1. "
            "Received: NaN, infinity or a number beyond float32."
        )
    return gray


def _as_numpy(frames: Any) -> npt.NDArray[Any]:
    return np.asarray(frames)  # eager tensors too
