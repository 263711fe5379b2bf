"""A loss that is no longer finite: when, on which clips, and what is left to go on from."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NoReturn

import tensorflow as tf

from perfnet_tf.config import TrainConfig
from perfnet_tf.datasets.pipeline import shuffled_position
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import read_index

#: In a run's folder: the step, its clips, and the checkpoint of before.
BAD_STEP_FILE = "bad_step.json"
_SHOWN = 4


def clips_of_step(
    data: str | pathlib.Path, split: str, step: int, batch_size: int, seed: int
) -> list[str]:
    """Ids of the clips in the global batch of a training step; 0 is the first step."""
    ids = [entry.clip_id for entry in read_index(data, split)]
    elements = range(step * batch_size, (step + 1) * batch_size)
    return [
        ids[int(shuffled_position(tf.constant(element, tf.int64), len(ids), seed))]
        for element in elements
    ]


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
    """Raises `InputError` with all that is known, and writes it to `BAD_STEP_FILE`.

    Args:
        bad: the first step whose loss or gradient was not finite; 0 is the first of all.
        config: batch and seed.
        learning_rate: of the optimizer, now.
        total: steps of the run.
        data, split: what was trained on.
        folder: of the run; None writes nothing.
        checkpoint: the last one, which is of before that step, or None.
    """
    clips = clips_of_step(data, split, bad, config.batch_size, config.seed)
    step = bad + 1  # people count from 1
    if folder is not None:
        values = {"step": step, "clip_ids": clips, "last_good_checkpoint": checkpoint}
        (folder / BAD_STEP_FILE).write_text(json.dumps(values, indent=2) + "\n")
    shown = ", ".join(clips[:_SHOWN])
    if len(clips) > _SHOWN:
        shown += f" and {len(clips) - _SHOWN} more in {BAD_STEP_FILE}"
    raise InputError(
        f"The loss or its gradient became infinite or NaN at step {step} of {total}, at a learning "
        f"rate of about {float(learning_rate):.3g}, on the clips {shown}. "
        f"The last good checkpoint is {checkpoint or 'none'}. Lower --learning_rate, lengthen the "
        "warm-up, or train in float32 if this was bfloat16."
    )
