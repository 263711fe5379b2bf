"""Pictures of one frame, read from files."""

from __future__ import annotations

import pathlib

import numpy as np

from perfnet_tf.video.opening import VideoError


def read_picture(path: pathlib.Path, *, gray: bool = False) -> np.ndarray:
    """A picture, turned as its metadata says.

    Args:
        path: the file, in any format of OpenCV.
        gray: one component instead of three.

    Returns:
        uint8 RGB `[height, width, 3]`, or `[height, width]`.

    Raises:
        VideoError: it cannot be read, or does not decode.
        MissingLibraryError: OpenCV cannot be loaded.
    """
    from perfnet_tf.opencv import cv2

    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise VideoError(f"{path} cannot be read: {error.strerror}.") from error
    mode = cv2.IMREAD_GRAYSCALE if gray else cv2.IMREAD_COLOR
    # OpenCV raises for an empty file, and gives None for a damaged one.
    picture = cv2.imdecode(content, mode) if len(content) else None
    if picture is None:
        raise VideoError(f"A picture must decode. Received: {path}, which does not.")
    return np.asarray(picture if gray else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
