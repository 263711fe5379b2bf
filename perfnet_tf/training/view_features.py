"""Features of the training clips, kept in a run's folder while they are computed."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import shutil
import zipfile
from collections.abc import Sequence

import numpy as np

from perfnet_tf.config import ClipConfig
from perfnet_tf.files import atomic_file
from perfnet_tf.input_pipeline.augment import ClipView
from perfnet_tf.input_pipeline.dataset import explaining_damaged_records
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.outputs import clip_bar, outputs_of_views
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.recognizers.run_directory import FEATURES_FOLDER
from perfnet_tf.records.schema import IndexEntry
from perfnet_tf.training.fitting import TRAIN_SPLIT


def compute_features(
    network: Recognizer,
    model: VideoModel,
    clip: ClipConfig,
    views: Sequence[ClipView],
    data: str | pathlib.Path,
    entries: Sequence[IndexEntry],
    folder: pathlib.Path,
    *,
    name: str = "view",
    batch_size: int,
    progress: bool,
) -> np.ndarray:
    """Features of every training clip in every view; each finished view is kept in `folder`.

    Args:
        network: whose module has `features`.
        model: its weights; features that other weights gave are computed again.
        clip: what is cut of every video.
        views: where it is cut.
        data: a prepared dataset.
        entries: its index of training clips.
        folder: of the run.
        name: what the files of these clips begin with.
        batch_size: clips at once.
        progress: report on standard error.

    Returns:
        float32 `[views, clips, channels]`, clips in the order of `entries`.
    """
    kept = folder / FEATURES_FOLDER
    kept.mkdir(exist_ok=True)
    origin = _digest(model, entries)
    files = [kept / f"{name}_{index}.npz" for index in range(len(views))]
    found = {}
    for index, file in enumerate(files):
        features = _read(file, origin)
        if features is not None:
            found[index] = features
    missing = [index for index in range(len(views)) if index not in found]
    extractor = dataclasses.replace(network, predict=network.module.features)
    with (
        explaining_damaged_records(data, TRAIN_SPLIT),
        clip_bar("features", len(entries) * len(missing), show=progress) as bar,
    ):
        computed = outputs_of_views(
            {0: extractor},
            clip,
            [views[index] for index in missing],
            os.fspath(data),
            TRAIN_SPLIT,
            batch_size,
            bar,
        )
        for index, (_, _, outputs) in zip(missing, computed, strict=True):
            found[index] = outputs[0]
            with atomic_file(files[index]) as content:
                np.savez(content, origin=origin, features=outputs[0])
    return np.stack([found[index] for index in range(len(views))])


def remove_features(folder: pathlib.Path) -> None:
    """Removes what `compute_features` kept in a run's folder."""
    shutil.rmtree(folder / FEATURES_FOLDER, ignore_errors=True)


def _digest(model: VideoModel, entries: Sequence[IndexEntry]) -> str:
    """Of the weights and the clips that features come from, hexadecimal."""
    digest = hashlib.sha256("\n".join(entry.clip_id for entry in entries).encode())
    for value in model.get_weights():
        digest.update(value.tobytes())
    return digest.hexdigest()


def _read(file: pathlib.Path, origin: str) -> np.ndarray | None:
    """The features in a file; None if it is missing, damaged, or of another origin."""
    try:
        with np.load(file, allow_pickle=False) as values:
            return np.asarray(values["features"]) if str(values["origin"]) == origin else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
