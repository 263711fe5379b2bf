"""Pose weights of the driving machine, for workers that share nothing but a bucket."""

from __future__ import annotations

import dataclasses
import pathlib

from perfnet_tf import storage
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import Staging


def stage_weights(config: PrepareConfig, staging: Staging) -> PrepareConfig:
    """`config` with its local weights in the bucket of the output, from which workers fetch them.

    Raises:
        OSError: the bucket cannot be written to.
    """
    weights = config.pose_weights
    if weights is None or storage.is_bucket(weights) or not storage.is_bucket(staging.address):
        return config
    top = staging.staged_path(storage.join("pose_weights", pathlib.Path(weights).name))
    files = storage.list_files(weights)
    for file in files:
        storage.upload(
            pathlib.Path(file.path), storage.join(top, storage.relative(file.path, weights))
        )
    if not files:
        storage.upload(pathlib.Path(weights), top)
    return dataclasses.replace(config, pose_weights=top)
