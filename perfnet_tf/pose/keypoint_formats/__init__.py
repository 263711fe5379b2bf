"""Keypoints that other programs wrote: each format behind one interface, by name."""

from __future__ import annotations

import importlib
import os
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.keypoint_formats.sources import KeypointSource
from perfnet_tf.registry import Registry


@dataclass(frozen=True)
class KeypointFormat:
    """A format of keypoint files.

    Attributes:
        content: what `keypoints` is for it, for messages and help: `a folder of ...`.
        open: (path) -> the keypoints there.
        needs_path: False for files that are next to the videos.
    """

    content: str
    open: Callable[[pathlib.Path], KeypointSource]
    needs_path: bool = True


def _later(module: str) -> Callable[[pathlib.Path], KeypointSource]:
    """`open_source` of a module of this folder, which is imported when it is called."""

    def open_source(path: pathlib.Path) -> KeypointSource:
        found = importlib.import_module(f"{__name__}.{module}")
        source: KeypointSource = found.open_source(path)
        return source

    return open_source


#: The formats that `pose` names.
KEYPOINT_FORMATS: Registry[KeypointFormat] = Registry(
    "keypoint format",
    {
        "pyskl": KeypointFormat("a skeleton pickle of PYSKL or MMAction2", _later("pyskl")),
        "openpose": KeypointFormat("a folder of --write_json", _later("openpose")),
        "alphapose": KeypointFormat("a folder of a results JSON per video", _later("alphapose")),
        "mediapipe": KeypointFormat(
            "a folder of an array of landmarks per video", _later("mediapipe")
        ),
        "ultralytics": KeypointFormat(
            "a folder of save_txt, or of an array per video", _later("ultralytics")
        ),
        "mmpose": KeypointFormat(
            "a folder of a predictions JSON, or of arrays of RTMPose or rtmlib, per video",
            _later("mmpose"),
        ),
        "coco": KeypointFormat("an annotation JSON, or a folder of one per video", _later("coco")),
        "keypoints": KeypointFormat(
            "a folder of CLIP.keypoints.json", _later("own"), needs_path=False
        ),
    },
)


def open_keypoints(pose: str, keypoints: str | os.PathLike[str] | None) -> KeypointSource:
    """Opens keypoints.

    Args:
        pose: one of `KEYPOINT_FORMATS`.
        keypoints: the file or folder; None: next to the videos.

    Raises:
        InputError: an unknown format, nothing there, or another content than the format's.
    """
    check_choice("pose", pose, KEYPOINT_FORMATS)
    entry = KEYPOINT_FORMATS[pose]
    if keypoints is None:
        if entry.needs_path:
            raise InputError(f"`pose={pose}` needs `keypoints`: {entry.content}.")
        return entry.open(pathlib.Path())
    path = pathlib.Path(keypoints)
    if not path.exists():
        raise InputError(
            f"`keypoints` must be {entry.content}. Received: {path}, which is not there."
        )
    return entry.open(path)
