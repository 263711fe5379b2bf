"""A loss that is no longer finite: when, on which clips, and which checkpoint is left."""

from __future__ import annotations

import contextlib
import errno
import json
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from perfnet_tf.config import TrainConfig
from perfnet_tf.errors import FailureError
from perfnet_tf.input_pipeline.order import training_order
from perfnet_tf.records.folder import read_index

#: In a run's folder: the step, its clips, and the checkpoint of before.
BAD_STEP_FILE = "bad_step.json"
_SHOWN = 4
#: Of a full disk: the numbers of the system's errors, and what TensorFlow's say.
_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_WORDS = ("No space left on device", "Disk quota exceeded")


def clips_of_step(
    data: str | pathlib.Path,
    split: str,
    step: int,
    batch_size: int,
    seed: int,
    sampling: str = "every_clip",
) -> list[str]:
    """Ids of the clips in the global batch of a training step; 0 is the first step."""
    entries = list(read_index(data, split))
    order = training_order(np.array([entry.label for entry in entries]), seed, sampling)
    elements = range(step * batch_size, (step + 1) * batch_size)
    return [entries[int(order(tf.constant(element, tf.int64)))].clip_id for element in elements]


def stop_for_bad_step(
    bad: int,
    *,
    config: TrainConfig,
    learning_rate: Any,
    total: int,
    data: str | pathlib.Path,
    folder: pathlib.Path | None,
    checkpoint: str | None,
    split: str = "train",
) -> NoReturn:
    """Raises `FailureError` with all that is known, and writes it to `BAD_STEP_FILE`.

    Args:
        bad: the first step whose loss or gradient was not finite; 0 is the first of all.
        config: batch and seed.
        learning_rate: of the optimizer, now.
        total: steps of the run.
        data, split: what was trained on.
        folder: of the run; None writes nothing.
        checkpoint: the last one, which is of before that step, or None.
    """
    clips = clips_of_step(data, split, bad, config.batch_size, config.seed, config.sampling)
    step = bad + 1  # people count from 1
    if folder is not None:
        values = {"step": step, "clip_ids": clips, "last_good_checkpoint": checkpoint}
        (folder / BAD_STEP_FILE).write_text(json.dumps(values, indent=2) + "\n")
    shown = ", ".join(clips[:_SHOWN])
    if len(clips) > _SHOWN:
        shown += f" and {len(clips) - _SHOWN} more in {BAD_STEP_FILE}"
    raise FailureError(
        f"The loss or its gradient became infinite or NaN at step {step} of {total}, at a learning "
        f"rate of about {float(learning_rate):.3g}, on the clips {shown}. "
        f"The last good checkpoint is {checkpoint or 'none'}. Lower `learning_rate`, lengthen the "
        "warm-up, or train in float32 if this was bfloat16."
    )


@contextlib.contextmanager
def explaining_full_disk(
    folder: pathlib.Path, last_checkpoint: Callable[[], str | None]
) -> Iterator[None]:
    """Turns the errors of a full disk, inside the block, into `FailureError`.

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
        kept = f" The checkpoint {checkpoint} is whole." if checkpoint else ""
        raise FailureError(
            f"The disk of {folder} is full ({free:.0f} MiB free).{kept} Free some space and rerun "
            "the same command to resume."
        ) from error


def _is_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        return True
    return any(words in str(error) for words in _WORDS)
