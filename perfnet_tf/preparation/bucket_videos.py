"""The videos and lists of a dataset in a bucket, as its readers find them: by names in a folder.

Readers of datasets (`datasets.catalog`) look at names of files and read lists. A folder of empty
files with the same names, and with the lists themselves, therefore stands for the bucket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from perfnet_tf import storage
from perfnet_tf.datasets.catalog import Catalog
from perfnet_tf.errors import InputError
from perfnet_tf.pose.keypoint_file import KEYPOINTS_ENDING

StrPath = str | os.PathLike[str]

_LIST_ENDINGS = (".csv", ".json", ".list", ".pkl", ".tsv", ".txt")
#: Lists are in the top folder or in one below it, as the official archives have them.
_LIST_DEPTH = 2
#: Downloads at once.
_NUM_THREADS = 16


class NamedLocally:
    """Local folders that stand for buckets."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._buckets: dict[str, str] = {}  # local path -> bucket's

    def path(self, path: StrPath, *, with_content: bool = False) -> StrPath:
        """The local stand-in of a path, if it is in a bucket, or the path as it is.

        Args:
            path: a folder or a file.
            with_content: fetch every file, not lists only.

        Raises:
            InputError: nothing is there, or it cannot be read.
        """
        if not storage.is_bucket(path):
            return path
        address = os.fspath(path).rstrip("/")
        local = self._folder / str(len(self._buckets)) / address.rpartition("/")[2]
        self._buckets[str(local)] = address
        try:
            files = storage.list_files(address)
            if not files and storage.exists(address):
                storage.download(address, local)
                return local
            if not files:
                raise InputError(f"There must be files. Received: {address}, which has none.")
            fetched = []
            for file in files:
                name = storage.relative(file.path, address)
                target = local / name
                if not target.resolve().is_relative_to(local.resolve()):
                    continue  # no name of a file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
                if with_content or _is_list(name):
                    fetched.append((file.path, target))
            with ThreadPoolExecutor(_NUM_THREADS) as executor:
                list(executor.map(lambda pair: storage.download(*pair), fetched))
        except OSError as error:
            raise InputError(f"{address} cannot be read: {error.strerror or error}.") from error
        return local

    def text(self, text: str) -> str:
        """`text` with the buckets in place of their stand-ins."""
        for local, address in self._buckets.items():
            text = text.replace(local, address)
        return text

    def catalog(self, catalog: Catalog) -> Catalog:
        """`catalog` with the paths in the buckets."""
        if not self._buckets:
            return catalog
        return dataclasses.replace(
            catalog,
            clips=tuple(
                dataclasses.replace(clip, path=self.text(clip.path)) for clip in catalog.clips
            ),
            notes=tuple(map(self.text, catalog.notes)),
        )


@contextlib.contextmanager
def named_locally() -> Iterator[NamedLocally]:
    """Makes stand-ins, which go with the block; its `InputError`s name the buckets."""
    with tempfile.TemporaryDirectory(prefix="perfnet-") as folder:
        names = NamedLocally(pathlib.Path(folder).resolve())
        try:
            yield names
        except InputError as error:
            raise InputError(names.text(str(error))) from error


def _is_list(name: str) -> bool:
    path = pathlib.PurePosixPath(name)
    of_lists = path.suffix.lower() in _LIST_ENDINGS and not name.endswith(KEYPOINTS_ENDING)
    return of_lists and len(path.parts) <= _LIST_DEPTH
