"""The cache: a folder for each fetched model, whose files every use checks.

The cache is `PERFNET_CACHE`, else `perfnet` in `XDG_CACHE_HOME` or `~/.cache`. A model's folder
appears in it when it is complete, with a file `SHA256SUMS`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest

#: Digests of a cached model's files, in the form of the `sha256sum` program.
CHECKSUMS_FILE = "SHA256SUMS"
#: Far above any of the models: a wrong address should not fill a disk.
MAX_BYTES = 1 << 30


def cache_folder(kind: str) -> Path:
    """The folder that holds a folder for each model of one kind, such as `pose`."""
    named = os.environ.get("PERFNET_CACHE")
    if named:
        return Path(named) / kind
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "perfnet" / kind


def cached(folder: Path, *, remedy: str) -> Path | None:
    """A model's folder, its digests checked; None if it is not in the cache.

    Args:
        folder: of the model, in the cache.
        remedy: the command that fetches it, for the error.

    Raises:
        InputError: a file is missing or was changed.
    """
    if not (folder / CHECKSUMS_FILE).is_file():
        return None
    for line in (folder / CHECKSUMS_FILE).read_text().splitlines():
        digest, _, file = line.partition("  ")
        if not (folder / file).is_file() or file_digest(folder / file) != digest:
            raise InputError(
                f"{folder / file} is missing or was changed since it was fetched. "
                f"Remove {folder} and run {remedy}."
            )
    return folder


def install(partial: Path, folder: Path) -> Path:
    """Makes what is in `partial` the model's folder, in one step; returns it."""
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    lines = [f"{file_digest(path)}  {path.relative_to(partial).as_posix()}\n" for path in files]
    (partial / CHECKSUMS_FILE).write_text("".join(lines))
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)
    for other in folder.parent.glob(f"{folder.name}.*.partial"):  # of sources that failed
        shutil.rmtree(other, ignore_errors=True)
    return folder


def emptied(folder: Path) -> Path:
    """`folder`, made or emptied."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder
