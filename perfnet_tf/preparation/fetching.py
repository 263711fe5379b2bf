"""What a worker needs out of buckets, fetched to local files: videos, weights, keypoints."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.pose.keypoint_file import keypoints_path
from perfnet_tf.pose.keypoint_formats import KEYPOINT_FORMATS
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records.schema import SourceClip

#: Settings of `PrepareConfig` that may be files or folders in a bucket.
_FETCHED = ("pose_weights", "keypoints")


def fetch_file(path: str, folder: pathlib.Path) -> pathlib.Path:
    """A local copy of a file or a folder in a bucket, in `folder`.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    target = folder / path.rstrip("/").rpartition("/")[2]
    try:
        if storage.download_folder(path, target):
            return target
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    raise InputError(f"There must be a file or a folder there. Received: {path}.")


def fetch_settings(config: PrepareConfig) -> PrepareConfig:
    """`config` with local copies of what it names in buckets, in temporary folders.

    Raises:
        InputError: as `fetch_file`.
    """
    local: dict[str, Any] = {
        name: str(fetch_file(value, pathlib.Path(tempfile.mkdtemp(prefix="perfnet-"))))
        for name in _FETCHED
        if storage.is_bucket(value := getattr(config, name))
    }
    return dataclasses.replace(config, **local) if local else config


class ClipFetcher:
    """Gives clips local files, for as long as they are worked on."""

    def __init__(self, config: PrepareConfig) -> None:
        given = KEYPOINT_FORMATS.get(config.pose)
        self._keypoints_beside = given is not None and config.keypoints is None

    @contextlib.contextmanager
    def __call__(self, clip: SourceClip) -> Iterator[SourceClip]:
        """The clip with the path of a local copy, if it is in a bucket, or as it is.

        Raises:
            InputError: the video is not there or cannot be read; and what the block raises, with
                the path of the bucket.
        """
        if not storage.is_bucket(clip.path):
            yield clip
            return
        above, _, name = clip.path.rstrip("/").rpartition("/")
        with tempfile.TemporaryDirectory(prefix="perfnet-") as folder:
            # Keypoints may be found by the names of the file and its folder.
            target = pathlib.Path(folder, above.rpartition("/")[2], name)
            try:
                self._fetch(clip.path, target)
                yield dataclasses.replace(clip, path=str(target))
            except InputError as error:
                raise InputError(str(error).replace(str(target), clip.path)) from error

    def _fetch(self, path: str, target: pathlib.Path) -> None:
        try:
            try:
                storage.download(path, target)
            except FileNotFoundError:
                target.unlink(missing_ok=True)
                if not storage.download_folder(path, target):  # numbered pictures
                    raise
            if self._keypoints_beside:
                beside = keypoints_path(target)
                with contextlib.suppress(FileNotFoundError):
                    storage.download(f"{path.rpartition('/')[0]}/{beside.name}", beside)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
