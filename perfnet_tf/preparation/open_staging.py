"""The staging of an output, in a folder or in a bucket."""

from __future__ import annotations

import os

from perfnet_tf import storage
from perfnet_tf.preparation.bucket_staging import BucketStaging
from perfnet_tf.preparation.staging import Staging


def open_staging(output: str | os.PathLike[str]) -> Staging:
    """The staging of an output; nothing is written."""
    return BucketStaging(os.fspath(output)) if storage.is_bucket(output) else Staging(output)
