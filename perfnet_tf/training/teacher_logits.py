"""Teachers' logits of every training clip, computed once and kept in a run's folder."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from perfnet_tf.config import ClipConfig
from perfnet_tf.files import atomic_file
from perfnet_tf.input_pipeline.augment import evenly_spread_views
from perfnet_tf.input_pipeline.dataset import explaining_damaged_records
from perfnet_tf.recognizers.outputs import clip_bar, outputs_of_views
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.records.folder import read_index
from perfnet_tf.training.fitting import TRAIN_SPLIT

_FOLDER = "teacher_logits"


def keep_teacher_logits(
    teachers: Mapping[str, Recognizer],
    clip: ClipConfig,
    num_windows: int,
    data: str | pathlib.Path,
    folder: pathlib.Path,
    *,
    name: str,
    batch_size: int,
    progress: bool,
) -> dict[str, np.ndarray]:
    """What the teachers say of every training clip: the mean over windows of its central crop.

    Args:
        teachers: name -> network, of the student's classes in their order.
        clip: what is cut of every video.
        num_windows: windows, evenly spread over the video; 1 is the central one.
        data: a prepared dataset.
        folder: of the run; logits that are there already, of the same weights, are read.
        name: of their file.
        batch_size: clips at once.
        progress: report on standard error.

    Returns:
        Teacher -> float32 `[clips, classes]`, in the order of the index.

    Raises:
        InputError: a damaged record.
    """
    clip_ids = [entry.clip_id for entry in read_index(data, TRAIN_SPLIT)]
    networks = [f"{name} {_digest(teacher)}" for name, teacher in teachers.items()]
    parts = [str(num_windows), str(clip), *networks, *clip_ids]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    file = folder / _FOLDER / f"{name}.npz"
    found = _read(file, key, teachers)
    if found is not None:
        return found
    numbered = dict(enumerate(teachers.values()))
    views = evenly_spread_views(num_windows, 1)
    total: dict[int, np.ndarray] = {number: np.zeros((), np.float32) for number in numbered}
    with (
        explaining_damaged_records(data, TRAIN_SPLIT),
        clip_bar("teachers", len(clip_ids) * len(views), show=progress) as bar,
    ):
        for _, _, logits in outputs_of_views(
            numbered, clip, views, os.fspath(data), TRAIN_SPLIT, batch_size, bar
        ):
            total = {number: total[number] + logits[number] for number in numbered}
    result = {
        teacher: np.asarray(total[number] / np.float32(len(views)), np.float32)
        for number, teacher in enumerate(teachers)
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as content:
        named: dict[str, Any] = {f"logits_{i}": x for i, x in enumerate(result.values())}
        np.savez(content, key=key, **named)
    return result


def remove_teacher_logits(folder: pathlib.Path) -> None:
    """Removes what `keep_teacher_logits` kept in a run's folder."""
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)


def _digest(teacher: Recognizer) -> str:
    """Of its weights; empty for a teacher whose layers are not accessible."""
    if teacher.model is None:
        return ""
    digest = hashlib.sha256()
    for variable in teacher.model.variables:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def _read(
    file: pathlib.Path, key: str, teachers: Mapping[str, Recognizer]
) -> dict[str, np.ndarray] | None:
    """The logits in a file; None if it is missing, damaged, or of something else."""
    try:
        with np.load(file, allow_pickle=False) as values:
            if str(values["key"]) != key:
                return None
            return {name: values[f"logits_{i}"] for i, name in enumerate(teachers)}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
