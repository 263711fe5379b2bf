"""Files and folders of an output: written in one step, locked, checked, known by their digest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
from collections.abc import Callable, Collection, Iterator
from typing import IO

from perfnet_tf.errors import InputError


def write_atomically(
    path: pathlib.Path, content: bytes | str, *, per_process: bool = False
) -> None:
    """Writes a whole file in one step: readers see the old content or the new one.

    Args:
        path: the file, replaced if it exists.
        content: text is written as UTF-8, its line ends as they are.
        per_process: as in `atomic_path`.
    """
    with atomic_file(path, per_process=per_process) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def atomic_path(path: pathlib.Path, *, per_process: bool = False) -> Iterator[pathlib.Path]:
    """A temporary name next to `path`; what was written to it becomes `path` when the block ends.

    The content is flushed to the disk first, so that a power cut cannot take it back: some
    milliseconds on an SSD, tens of them on a hard disk. An error inside the block removes it.

    Args:
        path: the file, replaced if it exists.
        per_process: several processes may write this file at once, each under its own name.
            Otherwise the name is fixed, and a new try overwrites what a killed process left.
    """
    owner = f".{platform.node()}-{os.getpid()}" if per_process else ""
    partial = path.with_name(f"{path.name}{owner}.partial")
    try:
        yield partial
        with open(partial, "rb+") as file:
            flush_to_disk(file)
        os.replace(partial, path)
    except (Exception, KeyboardInterrupt):
        partial.unlink(missing_ok=True)
        raise


def flush_to_disk(file: IO[bytes]) -> None:
    """Waits until the disk has what was written to a file."""
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def atomic_file(path: pathlib.Path, *, per_process: bool = False) -> Iterator[IO[bytes]]:
    """A file opened for writing that becomes `path` when the block ends, as with `atomic_path`."""
    with atomic_path(path, per_process=per_process) as partial, open(partial, "wb") as file:
        yield file


def check_local(path: str | os.PathLike[str]) -> None:
    """Raises `InputError` if an output is named by an address such as `gs://bucket/run`."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):  # `pathlib` drops the second slash
        raise InputError(
            f"The output must be a local folder. Received: {os.fspath(path)}. "
            "Write to this machine, then copy the folder."
        )


@contextlib.contextmanager
def exclusive_lock(path: pathlib.Path, *, on_busy: Callable[[], object]) -> Iterator[None]:
    """Holds the lock of the file `path`; the system releases it however the process ends.

    Args:
        path: made if missing, and its folder.
        on_busy: called if another process holds the lock; raises to give up, returns to wait.

    Raises:
        InputError: the folder is remote, or cannot be written to.
    """
    check_local(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path, "w")
    except OSError as error:
        raise InputError(
            f"The output cannot be written to: {path.parent} ({error.strerror})."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_busy()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def check_new_or_empty(
    path: str | os.PathLike[str], *, ignored: Collection[str] = (), alternative: str = ""
) -> pathlib.Path:
    """The folder of a new output, if nothing is there yet.

    Args:
        path: the folder.
        ignored: names of entries that it may hold.
        alternative: what else the caller accepts, such as "a run to resume", for the message.

    Raises:
        InputError: it is remote, a file, or a folder that holds something.
    """
    check_local(path)
    folder = pathlib.Path(path)
    if not folder.exists():
        return folder
    held = sorted({e.name for e in folder.iterdir()} - {*ignored}) if folder.is_dir() else None
    if held is None or held:
        problem = "which is a file" if held is None else f"which holds {held[0]}"
        raise InputError(
            f"The output must be a new or an empty folder{alternative and f', or {alternative}'}. "
            f"Received: {folder}, {problem}. Choose another `output`, or remove it first."
        )
    return folder


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
