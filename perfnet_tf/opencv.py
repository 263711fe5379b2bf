"""OpenCV, imported in this one place, which checks it: `from perfnet_tf.opencv import cv2`.

Raises `MissingLibraryError` where OpenCV cannot be loaded, as without libGL in a slim container.
Warns where several packages that bring `cv2` are installed in different versions: their files
overwrite each other.
"""

from __future__ import annotations

import warnings

from perfnet_tf.errors import MissingLibraryError
from perfnet_tf.installed import OPENCV_PACKAGES, installed_versions, opencv_versions

__all__ = ["cv2"]

#: The one that needs no display libraries.
_HEADLESS = "opencv-python-headless"


def _how_to_reinstall() -> str:
    """Commands that leave one package of OpenCV, which needs no display libraries."""
    installed = installed_versions(*OPENCV_PACKAGES)
    version = f"=={installed[_HEADLESS]}" if _HEADLESS in installed else ""
    remove = f"pip uninstall --yes {' '.join(installed)} && " if installed else ""
    return f"{remove}pip install --no-deps {_HEADLESS}{version}"


try:
    import cv2
except ImportError as _error:
    raise MissingLibraryError(
        f"OpenCV cannot be loaded ({_error}). Without a screen take the package that needs no "
        f"display libraries: {_how_to_reinstall()}. Or install the library; on Debian and Ubuntu "
        "libGL.so.1 is in the package libgl1."
    ) from _error

_versions = opencv_versions()
if len(set(_versions.values())) > 1:
    warnings.warn(
        "Packages that bring OpenCV's module cv2 must have one version, because they share a "
        f"folder. Received: {', '.join(f'{name} {v}' for name, v in _versions.items())}. "
        f"Keep one: {_how_to_reinstall()}.",
        RuntimeWarning,
        stacklevel=2,
    )
