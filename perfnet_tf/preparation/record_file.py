"""A TFRecord file of one record."""

from __future__ import annotations

import errno
import os
import pathlib

from perfnet_tf.errors import first_line
from perfnet_tf.files import atomic_path, file_digest
from perfnet_tf.records.schema import FRAMING_BYTES


def write_record(path: pathlib.Path, serialized: bytes) -> tuple[int, str]:
    """Puts a TFRecord file of one record in place in one step; returns its size and SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    import tensorflow as tf

    path.parent.mkdir(exist_ok=True)
    with atomic_path(path, per_process=True) as partial:
        try:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                writer.write(serialized)
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, first_line(error)) from error
        size = partial.stat().st_size
        if size != len(serialized) + FRAMING_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        digest = file_digest(partial)
    return size, digest
