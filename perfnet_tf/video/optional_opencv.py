"""OpenCV where it can be loaded: videos are read faster with it, and without it to the same frames.

In a slim container OpenCV may lack libGL; NumPy then takes its place.
"""

from __future__ import annotations

import functools
from typing import Any

from perfnet_tf.errors import MissingLibraryError


@functools.cache
def find_opencv() -> Any | None:
    """OpenCV's module `cv2`; None where it cannot be loaded."""
    try:
        from perfnet_tf.opencv import cv2
    except MissingLibraryError:
        return None
    return cv2
