"""A plugin with a toy stream: the brightness of the frames, blurred, in place of depth."""

import cv2
import numpy as np

from perfnet_tf import Source, Stream, register_source, register_stream


def blurred_brightness(frames: np.ndarray, fps: float) -> np.ndarray:
    grey = frames.mean(axis=-1, dtype=np.float32) / 255
    return np.stack([cv2.GaussianBlur(frame, (5, 5), 0) for frame in grey])[..., None]


register_source(Source("depth", ("height", "width", 1), extract=blurred_brightness))
register_stream(
    Stream("depth", "depth", 1, ("depth",), normalize=lambda depth: 2 * depth - 1, unit="in [0, 1]")
)
