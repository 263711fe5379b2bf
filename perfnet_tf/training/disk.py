"""A full disk, told as such."""

from __future__ import annotations

import contextlib
import errno
import pathlib
import shutil
from collections.abc import Callable, Iterator

import tensorflow as tf

from perfnet_tf.errors import InputError

_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded")


@contextlib.contextmanager
def full_disk_named(
    folder: pathlib.Path, last_checkpoint: Callable[[], str | None]
) -> Iterator[None]:
    """Turns the errors of a full disk, inside the block, into `InputError`.

    Args:
        folder: of the run.
        last_checkpoint: path of the last checkpoint that is whole, or None.
    """
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        if not _is_full(error):
            raise
        free = shutil.disk_usage(folder).free / 2**20
        checkpoint = last_checkpoint()
        kept = f"The checkpoint {checkpoint} is whole" if checkpoint else "No checkpoint was saved"
        raise InputError(
            f"The disk of {folder} is full ({free:.0f} MiB free). {kept}. "
            "Free some space and run the same command again: it goes on from there."
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any(words in str(error) for words in _WORDS)
