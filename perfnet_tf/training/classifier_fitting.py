"""A new classifier on a network that stays as it is: each clip passes the network once.

Minutes on a CPU where fine-tuning takes hours, and hard to beat where a class has few clips. The
features of a few fixed views of every training clip are computed once, and the classifier is the
softmax regression on them. Its decay is chosen on recordings that are held out in turn.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from perfnet_tf.config import CLASS_WEIGHTS, ClipConfig, ExperimentConfig
from perfnet_tf.datasets.groups import VALIDATION_FOLDS, draw_folds
from perfnet_tf.errors import InputError, check_choice, check_positive, check_whole
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.input_pipeline.augment import ClipView, evenly_spread_views
from perfnet_tf.input_pipeline.dataset import explaining_damaged_records
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.outputs import outputs_of_view
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.recognizers.run_directory import Run, load_run, save_run
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.reader import check_streams
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.training.class_weights import balanced_weights
from perfnet_tf.training.fitting import TRAIN_SPLIT
from perfnet_tf.training.run_identity import describe_run, differences
from perfnet_tf.training.softmax_regression import fit_softmax_regression
from perfnet_tf.training.sources import copy_weights, describe, describe_dataset

#: What `fit_classifier` chooses from.
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
#: Where nothing can be held out: then a class has one recording, and the most decay does best.
DEFAULT_DECAY = 1e-1


def fit_classifier(
    initial: Network,
    data: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    clip: ClipConfig | None = None,
    windows: int = 1,
    crops: int = 1,
    mirror: bool = True,
    class_weights: str = "none",
    decay: float | None = None,
    batch_size: int = 4,
    progress: bool = True,
) -> Run:
    """Fits a classifier of other classes to the features of a network, which is not changed.

        fit_classifier("i3d_kinetics400", "data", "runs/mine")

    The result is a run like any other: evaluate it, predict with it, fine-tune or export it.

    Args:
        initial: a pretrained network, a run, or an export that can be trained.
        data: a prepared dataset with a split `train`.
        output: folder of the new run: new, empty, or of this very run, which is returned.
        clip: what the network sees of each video, also at evaluation; None is what it expects.
        windows, crops: views of each training clip, as in `evaluate_runs`; each is an example.
        mirror: every view also mirrored. Turn it off where classes tell left from right.
        class_weights: as in `TrainConfig`: `none` or `balanced`.
        decay: of the classifier, see `fit_softmax_regression`; None chooses one of `DECAYS` by the
            cross-entropy of recordings held out in turn.
        batch_size: clips that pass the network at once.
        progress: report on standard error.

    Returns:
        The run. Its `run.json` says under `fitted` the decay, and the held-out recordings' top-1
        and cross-entropy for each of `DECAYS`.

    Raises:
        InputError: a network without layers, data that do not fit, or an `output` of another run.
    """
    check_whole(batch_size=batch_size, windows=windows, crops=crops)
    check_positive(decay=decay)
    check_choice("`class_weights`", class_weights, CLASS_WEIGHTS)
    network = load(initial, trainable=True, folded=True)
    source = network.run()
    if getattr(network.module, "features", None) is None:
        network = load(source, folded=True)
    info = read_dataset_info(data)
    check_streams([network.stream], info)
    clip = clip or network.expected_clip()
    views = evenly_spread_views(windows, crops)
    if mirror:
        views += [view._replace(mirror=tf.constant(True)) for view in views]
    config = _config(source.config, clip, mirror, class_weights)
    record: dict[str, Any] = {
        "dataset": describe_dataset(info, TRAIN_SPLIT),
        "teachers": {},
        "initial": describe(initial),
        "classifier": {"windows": windows, "crops": crops, "decay": decay},
    }
    folder = pathlib.Path(output)
    if _is_done(folder, config, info, record):
        return load_run(folder)

    features, labels, clip_ids = _features(network, clip, views, data, info, batch_size, progress)
    weights = None
    if class_weights == "balanced":
        counts = info.split(TRAIN_SPLIT)["clips_per_class"]
        weights = np.asarray(balanced_weights(counts, info.classes))[labels]
    fitted: dict[str, Any] = {}
    if decay is None:
        folds = _folds(tuple(read_index(data, TRAIN_SPLIT)), info, clip_ids)
        decay, fitted = choose_decay(features, labels, info.num_classes, folds, weights)
    classifier = fit_softmax_regression(
        np.concatenate(features),
        np.tile(labels, len(views)),
        info.num_classes,
        decay=decay,
        weights=None if weights is None else np.tile(weights, len(views)),
    )
    model = build_from_config(config.model, info.num_classes, config.stream)
    carried = copy_weights(source, model, info.classes)
    model.classifier.kernel.assign(classifier.kernel.astype(np.float32))
    model.classifier.bias.assign(classifier.bias.astype(np.float32))
    return save_run(
        folder,
        config,
        info.classes,
        model,
        **record,
        **carried.ancestry(),
        fitted={"decay": decay, **fitted},
    )


def choose_decay(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    folds: Sequence[np.ndarray],
    weights: np.ndarray | None = None,
) -> tuple[float, dict[str, Any]]:
    """The decay whose classifiers answer clips best that they were not fitted to.

    Args:
        features: float `[views, clips, channels]`.
        labels: integer `[clips]`.
        num_classes: number of classes.
        folds: places of the clips that are held out in turn; fewer than two choose nothing.
        weights: of each clip, or None.

    Returns:
        One of `DECAYS`, by the mean cross-entropy of held-out views, or `DEFAULT_DECAY`; and what
        was measured.
    """
    if len(folds) < 2:
        return DEFAULT_DECAY, {}
    held_out: dict[str, dict[str, float]] = {}
    num_views, num_clips, _ = features.shape
    for decay in DECAYS:
        losses, hits = [], []
        for fold in folds:
            rest = np.setdiff1d(np.arange(num_clips), fold)
            classifier = fit_softmax_regression(
                np.concatenate(features[:, rest]),
                np.tile(labels[rest], num_views),
                num_classes,
                decay=decay,
                weights=None if weights is None else np.tile(weights[rest], num_views),
            )
            for view in features[:, fold]:
                logs = classifier.log_probabilities(view)
                losses.append(-logs[np.arange(len(fold)), labels[fold]])
                hits.append(logs.argmax(axis=1) == labels[fold])
        held_out[f"{decay:g}"] = {
            "cross_entropy": float(np.concatenate(losses).mean()),
            "top1": float(np.concatenate(hits).mean()),
        }
    best = min(DECAYS, key=lambda decay: held_out[f"{decay:g}"]["cross_entropy"])
    return best, {"held_out": held_out}


def _config(
    initial: ExperimentConfig, clip: ClipConfig, mirror: bool, class_weights: str
) -> ExperimentConfig:
    train = dataclasses.replace(
        initial.train, freeze=("all_but_head",), mirror=mirror, class_weights=class_weights
    )
    return initial.replace(clip=clip, eval_clip=None, distill=None, train=train)


def _features(
    network: Recognizer,
    clip: ClipConfig,
    views: Sequence[ClipView],
    data: str | pathlib.Path,
    info: DatasetInfo,
    batch_size: int,
    progress: bool,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Features float32 `[views, clips, channels]`, labels and names of the training clips."""
    extractor = dataclasses.replace(network, predict=network.module.features)
    found = []
    with (
        explaining_damaged_records(data, TRAIN_SPLIT),
        tqdm(
            total=info.split(TRAIN_SPLIT)["num_clips"] * len(views),
            desc="features",
            unit="clip",
            disable=not progress,
            mininterval=0.1 if sys.stderr.isatty() else 10,  # a log file keeps every update
        ) as bar,
    ):
        for view in views:
            labels, clip_ids, outputs = outputs_of_view(
                {0: extractor}, clip, view, os.fspath(data), TRAIN_SPLIT, batch_size, bar
            )
            found.append(outputs[0])
    return np.stack(found), labels, clip_ids


def _folds(
    entries: Sequence[IndexEntry], info: DatasetInfo, clip_ids: Sequence[str]
) -> list[np.ndarray]:
    """Places in `clip_ids` of each part to hold out; as many parts as the recordings allow."""
    place = {name: index for index, name in enumerate(clip_ids)}
    for num_folds in range(VALIDATION_FOLDS, 1, -1):
        try:
            folds = draw_folds(entries, info.name, num_folds)
        except InputError:
            continue
        return [np.array([place[name] for name in fold]) for fold in folds]
    return []


def _is_done(
    folder: pathlib.Path, config: ExperimentConfig, info: DatasetInfo, record: Mapping[str, Any]
) -> bool:
    """Whether `folder` holds this very run; raises `InputError` if it holds something else."""
    if not run_directory.is_run(folder):
        check_new_or_empty(folder, alternative="a run of this very classifier")
        return False
    old_config, old_classes, old_record = run_directory.read_run(folder)
    found = describe_run(old_config, old_classes, **{key: old_record.get(key) for key in record})
    changed = differences(found, describe_run(config, info.classes, **record))
    if changed:
        raise InputError(
            f"{folder} holds another run: {changed[0]}. Choose another `output`, or delete that "
            "folder."
        )
    return run_directory.has_weights(folder)
