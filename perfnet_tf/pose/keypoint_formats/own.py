"""`CLIP.keypoints.json`, this package's own format (`pose.keypoint_file`).

Scores are in [0, 1]; others are clipped to it.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from perfnet_tf.pose.clip_keypoints import ClipKeypoints
from perfnet_tf.pose.keypoint_file import KEYPOINTS_ENDING, keypoints_path, load_keypoints
from perfnet_tf.pose.keypoint_formats.sources import FileSource


class _NextToVideos:
    """The file next to each video."""

    def find(self, clip_id: str, video: str) -> pathlib.Path:
        """See `KeypointSource`; a file that is missing is an error of `read`."""
        return keypoints_path(video)

    def read(self, found: pathlib.Path) -> ClipKeypoints:
        """See `KeypointSource`."""
        return load_keypoints(found)

    def names(self) -> Iterator[str]:
        """See `KeypointSource`."""
        return iter(())


def open_source(path: pathlib.Path) -> FileSource | _NextToVideos:
    """Opens a folder; the empty path means next to each video."""
    if path == pathlib.Path():
        return _NextToVideos()
    return FileSource(path, [f"*{KEYPOINTS_ENDING}"], load_keypoints)
