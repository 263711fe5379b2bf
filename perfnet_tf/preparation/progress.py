"""How far a preparation is, read from its output by any machine."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.open_staging import open_staging
from perfnet_tf.records.folder import parse_dataset_info
from perfnet_tf.records.schema import DATASET_FILE


@dataclass(frozen=True)
class Progress:
    """Clips of a preparation.

    Attributes:
        total: clips that become records or failures.
        made: clips with a record.
        failed: clips without, of those that were tried.
        stage: `clips` are made, `shards` are written, or `complete`.
    """

    total: int
    made: int
    failed: int
    stage: str

    def __str__(self) -> str:
        if self.stage == "complete":
            return f"complete: {self.made} clips, {self.failed} failed"
        share = (self.made + self.failed) / max(self.total, 1)
        doing = " Shards are being written." if self.stage == "shards" else ""
        return f"{self.made} of {self.total} clips made, {self.failed} failed ({share:.1%}).{doing}"


def read_progress(
    output: str | os.PathLike[str], beam_options: tuple[str, ...] | list[str] = ()
) -> Progress:
    """Reads how far a preparation is.

    Args:
        output: folder or bucket that `prepare` fills.
        beam_options: for buckets, such as `--s3_endpoint_url=URL`.

    Raises:
        InputError: no preparation is there, or it cannot be read.
    """
    if storage.is_bucket(output):
        storage.set_options(beam_options)
    staging = open_staging(output)
    try:
        path = staging.path(DATASET_FILE)
        if storage.exists(path):
            info = parse_dataset_info(storage.read_bytes(path), path)
            made = sum(split["num_clips"] for split in info.splits.values())
            return Progress(made + info.num_failed, made, info.num_failed, "complete")
        identity = json.loads(storage.read_bytes(staging.staged_path("preparation.json")))
        outcomes = staging.outcomes()
        stage = "shards" if staging.finished else "clips"
        total = int(identity["num_source_clips"])
    except FileNotFoundError:
        raise InputError(
            f"There must be a preparation. Received: {output}, where none has begun."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The preparation in {output} cannot be read: {error}.") from error
    made = sum(outcome.ok for outcome in outcomes.values())
    return Progress(total, made, len(outcomes) - made, stage)
