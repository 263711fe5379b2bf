"""Which packages are installed, without importing them."""

from __future__ import annotations

import importlib.metadata
import importlib.util

#: The packages that bring OpenCV's module `cv2`. All write into one folder.
OPENCV_PACKAGES = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


def missing_modules(*names: str) -> list[str]:
    """Those of the modules that cannot be found, in the order given; `a.b` imports `a`."""
    return [name for name in names if not _is_there(name)]


def installed_versions(*names: str) -> dict[str, str]:
    """Package -> version, of those that are installed."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def opencv_versions() -> dict[str, str]:
    """Package -> version of OpenCV in it (`5.0.0`), without the number of the package's build."""
    packages = installed_versions(*OPENCV_PACKAGES)
    return {name: ".".join(version.split(".")[:3]) for name, version in packages.items()}


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
