"""Files in local folders and in buckets (`gs://`, `s3://`), under one set of operations.

A path with `://` is an object of a bucket and is reached by Apache Beam's file systems, so that it
means the same on every machine of a cluster; any other path is a local file, and Beam is not
imported. Objects are only ever written whole: a bucket has no rename, but a written object appears
in one step.

Failures are `OSError`s, and `FileNotFoundError` where nothing is there.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import pathlib
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple, cast

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.files import atomic_file
from perfnet_tf.files import write_atomically as write_file_atomically
from perfnet_tf.installed import missing_modules

StrPath = str | os.PathLike[str]

_BLOCK = 1 << 20
#: Scheme -> a module that its file system needs, and the extra that brings it.
_NEEDED = {
    "gs": ("google.cloud.storage", "perfnet-tf[gcp]"),
    "s3": ("boto3", "perfnet-tf[aws]"),
    "azfs": ("azure.storage.blob", "apache-beam[azure]"),
    "hdfs": ("hdfs", "apache-beam[hadoop]"),
}
_kept = threading.local()
_options: list[str] | None = None


class StoredFile(NamedTuple):
    """A file in a listing: its path, and its size in bytes."""

    path: str
    size: int


def is_bucket(path: StrPath | None) -> bool:
    """Whether a path is an object or a folder of a bucket, such as `gs://bucket/data`."""
    return path is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", os.fspath(path)) is not None


def join(folder: StrPath, *names: str) -> str:
    """Path of a file in a folder."""
    if not is_bucket(folder):
        return os.path.join(folder, *names)
    return "/".join([os.fspath(folder).rstrip("/"), *names])


def set_options(beam_options: Sequence[str]) -> None:
    """Options of Apache Beam for the buckets of this process, such as `--s3_endpoint_url=URL`."""
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    global _options
    if _options != [*beam_options]:
        _options = [*beam_options]
        FileSystems.set_options(PipelineOptions(_options))
        _kept.__dict__.clear()


def current_options() -> list[str] | None:
    """The last `set_options` of this process, for those that it starts."""
    return _options


def open_read(path: StrPath) -> IO[bytes]:
    """Opens a file for reading."""
    if not is_bucket(path):
        return open(path, "rb")
    with _named_errors(path):
        return cast(IO[bytes], _bucket(path).open(os.fspath(path)))


def read_bytes(path: StrPath) -> bytes:
    """The content of a file."""
    with open_read(path) as file, _named_errors(path):
        return file.read()


def write_atomically(path: StrPath, content: bytes | str) -> None:
    """Writes a whole file in one step: readers find the old content or the new one.

    Args:
        path: the file, replaced if it exists.
        content: text is written as UTF-8. A bucket takes no empty one.
    """
    if not is_bucket(path):
        write_file_atomically(pathlib.Path(path), content)
        return
    data = content.encode() if isinstance(content, str) else content
    _write_object(os.fspath(path), io.BytesIO(data))


@contextlib.contextmanager
def writing(path: StrPath) -> Iterator[IO[bytes]]:
    """A file to write to, which becomes `path` when the block ends without an error."""
    if not is_bucket(path):
        with atomic_file(pathlib.Path(path)) as file:
            yield file
        return
    # Closing a writer of Beam's publishes what was written so far, also after an error: what is
    # written to the bucket is complete before its writer is opened.
    with tempfile.TemporaryFile() as file:
        yield cast(IO[bytes], file)
        file.seek(0)
        _write_object(os.fspath(path), cast(IO[bytes], file))


def download(path: StrPath, target: pathlib.Path) -> None:
    """Copies a file to a local one, whose folder is made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_read(path) as source, open(target, "wb") as file, _named_errors(path):
        shutil.copyfileobj(source, file, _BLOCK)


def download_folder(path: StrPath, target: pathlib.Path) -> int:
    """Copies all files of a folder, or a single file, to a local place; returns their number."""
    files = list_files(path)
    for file in files:
        download(file.path, target / relative(file.path, path))
    if not files and exists(path):
        download(path, target)
        return 1
    return len(files)


def upload(source: pathlib.Path, path: StrPath) -> None:
    """Copies a local file into a bucket."""
    with open(source, "rb") as file:
        _write_object(os.fspath(path), file)


def relative(path: str, folder: StrPath) -> str:
    """The part of a listed path after its folder, with slashes."""
    return os.path.relpath(path, folder) if not is_bucket(path) else path[len(join(folder, "")) :]


def list_files(folder: StrPath, prefix: str = "") -> list[StoredFile]:
    """The files below a folder, in all folders in it, sorted.

    Args:
        folder: need not exist.
        prefix: beginning of their paths below the folder.
    """
    if not is_bucket(folder):
        paths = sorted(file for file in pathlib.Path(folder).rglob("*") if file.is_file())
        files = [StoredFile(str(path), path.stat().st_size) for path in paths]
        return [file for file in files if relative(file.path, folder).startswith(prefix)]
    start = join(folder, prefix)
    with _named_errors(folder):
        # "name/" is what consoles make of a folder.
        return sorted(file for file in _bucket(folder).list(start) if not file.path.endswith("/"))


def total_size(paths: Sequence[StrPath]) -> int:
    """Bytes of the files in one folder that `paths` name."""
    if not paths or not is_bucket(paths[0]):
        return sum(os.stat(path).st_size for path in paths)
    wanted = {os.fspath(path) for path in paths}
    folder, _, _ = os.fspath(paths[0]).rpartition("/")
    return sum(file.size for file in list_files(folder) if file.path in wanted)


def exists(path: StrPath) -> bool:
    """Whether there is such a file."""
    if not is_bucket(path):
        return os.path.isfile(path)
    with _named_errors(path):
        return bool(_bucket(path).exists(os.fspath(path)))


def remove(paths: Iterable[StrPath]) -> None:
    """Removes files; those that are not there do not matter."""
    objects = []
    for path in paths:
        if is_bucket(path):
            objects.append(os.fspath(path))
        else:
            pathlib.Path(path).unlink(missing_ok=True)
    if objects:
        with _named_errors(objects[0]):
            _bucket(objects[0]).delete(objects)


class _Bucket:
    """Objects, by Beam's file system for their scheme."""

    def open(self, path: str) -> Any:
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.open(path, compression_type="uncompressed")

    def create(self, path: str) -> Any:
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.create(path, compression_type="uncompressed")

    def list(self, start: str) -> Iterator[StoredFile]:
        from apache_beam.io.filesystems import FileSystems

        pattern = re.sub(r"[\[\]*?]", "?", start)
        for file in FileSystems.match([f"{pattern}**"])[0].metadata_list:
            if file.path.startswith(start):
                yield StoredFile(file.path, file.size_in_bytes)

    def exists(self, path: str) -> bool:
        from apache_beam.io.filesystems import FileSystems

        return bool(FileSystems.exists(path))

    def delete(self, paths: Sequence[str]) -> None:
        from apache_beam.io.filesystems import FileSystems

        FileSystems.delete(paths)


class _S3Bucket(_Bucket):
    """Objects of S3 by one connection: Beam's file system opens one for every operation."""

    def __init__(self) -> None:
        from apache_beam.io.aws.s3io import S3IO
        from apache_beam.io.filesystems import FileSystems
        from apache_beam.options.pipeline_options import PipelineOptions

        # It prints tracebacks of errors that it raises as well.
        logging.getLogger().addFilter(_is_not_of_s3io)
        self._s3 = S3IO(options=FileSystems._pipeline_options or PipelineOptions([]))

    def open(self, path: str) -> Any:
        return self._s3.open(path, "rb")

    def create(self, path: str) -> Any:
        return self._s3.open(path, "wb")

    def list(self, start: str) -> Iterator[StoredFile]:
        for path, size in self._s3.list_files(start):
            yield StoredFile(path, size)

    def exists(self, path: str) -> bool:
        return bool(self._s3.exists(path))

    def delete(self, paths: Sequence[str]) -> None:
        for path, error in self._s3.delete_files([*paths]):
            if error is not None:
                raise OSError(errno.EIO, f"{path}: {first_line(error)}")


def _is_not_of_s3io(record: logging.LogRecord) -> bool:
    return record.module != "s3io"


def _bucket(path: StrPath) -> _Bucket:
    """The access to a bucket; each thread keeps its own.

    Raises:
        InputError: Beam or the packages for the scheme are not installed, or there is no such one.
    """
    scheme = os.fspath(path).partition("://")[0].lower()
    known = getattr(_kept, scheme, None)
    if known is None:
        _check_packages(path, scheme)
        known = _S3Bucket() if scheme == "s3" else _Bucket()
        setattr(_kept, scheme, known)
    return cast(_Bucket, known)


def _check_packages(path: StrPath, scheme: str) -> None:
    module, extra = _NEEDED.get(scheme, ("apache_beam", "perfnet-tf[cluster]"))
    missing = missing_modules("apache_beam", module)
    if missing:
        raise InputError(
            f"{scheme}:// needs {missing[0]}, which is not installed. Received: {path}. "
            f'Run: pip install "{extra}".'
        )
    from apache_beam.io.filesystems import FileSystems

    try:
        FileSystems.get_filesystem(os.fspath(path))
    except Exception as error:  # a ValueError, or what a file system's own start raises
        raise InputError(
            f"A bucket is named by a scheme that Apache Beam has, such as gs:// or s3://. "
            f"Received: {path} ({first_line(error)})."
        ) from error


def _write_object(path: str, source: IO[bytes]) -> None:
    with _named_errors(path):
        with _bucket(path).create(path) as target:
            shutil.copyfileobj(source, target, _BLOCK)


@contextlib.contextmanager
def _named_errors(path: StrPath) -> Iterator[None]:
    """Raises what a bucket's library raises as an `OSError` of one line."""
    try:
        yield
    except (InputError, FileNotFoundError):
        raise
    except Exception as error:
        if not is_bucket(path):
            raise
        details = [*getattr(error, "exception_details", {}).values(), error]  # of a BeamIOError
        if any(getattr(cause, "code", None) == 404 for cause in details):
            raise FileNotFoundError(errno.ENOENT, "Not found", os.fspath(path)) from error
        raise OSError(errno.EIO, f"{path}: {first_line(details[0])}") from error
