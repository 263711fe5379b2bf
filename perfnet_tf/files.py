"""Files that are written whole, flushed to the disk, and known by their digest."""

from __future__ import annotations

import hashlib
import os
import pathlib
from typing import IO


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under another name and renames it: readers see all of it or nothing."""
    # The same name for every process: a run that goes on overwrites what a killed one left.
    partial = path.with_name(f"{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content)
            flush_to_disk(file)
        os.replace(partial, path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def flush_to_disk(file: IO[bytes]) -> None:
    """Waits until the disk has what was written: a power cut then cannot take it back."""
    file.flush()
    os.fsync(file.fileno())


def file_digest(path: pathlib.Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
