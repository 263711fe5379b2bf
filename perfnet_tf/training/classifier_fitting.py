"""A new classifier on a network that stays as it is: each clip passes it once per view.

Minutes on a CPU where fine-tuning takes hours, and hard to beat where a class has few clips. The
features of a few fixed views of every training clip are computed once, and the classifier is the
softmax regression on them. Its decay is chosen on recordings that are held out in turn.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.config import CLASS_WEIGHTS, ClipConfig, ExperimentConfig
from perfnet_tf.errors import InputError, check_choice, check_positive, check_whole
from perfnet_tf.input_pipeline.augment import evenly_spread_views
from perfnet_tf.label_kinds import MULTI_LABEL
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.run_directory import Run, load_run
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.reader import check_streams
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.training.class_weights import balanced_weights
from perfnet_tf.training.decay_choice import choose_decay, draw_held_out_folds
from perfnet_tf.training.failure import explaining_full_disk
from perfnet_tf.training.fitting import TRAIN_SPLIT
from perfnet_tf.training.run_identity import find_earlier_run
from perfnet_tf.training.softmax_regression import LinearClassifier, fit_softmax_regression
from perfnet_tf.training.sources import copy_weights, describe, describe_dataset
from perfnet_tf.training.view_features import compute_features, remove_features


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

    The result is a run like any other: evaluate it, predict with it, fine-tune or export it. Call
    it again with the same arguments to resume an interrupted run: the features of each finished
    view are kept.

    Args:
        initial: a pretrained network, a run, or an export that can be trained.
        data: a prepared dataset with a split `train`.
        output: folder of the new run: new, empty, or of this very run, which is returned.
        clip: what the network sees of each video, also at evaluation; None is what it expects.
        windows, crops: views of each training clip, as in `evaluate_runs`; each is an example.
        mirror: every view also mirrored. Turn it off where classes tell left from right.
        class_weights: as in `TrainConfig`: `none` or `balanced`.
        decay: of the classifier, see `fit_softmax_regression`; None chooses 1e-5, 1e-4, 1e-3, 1e-2
            or 1e-1 by the cross-entropy of recordings held out in turn.
        batch_size: clips that pass the network at once.
        progress: report on standard error.

    Returns:
        The run. Its `run.json` says under `fitted` the decay, and the held-out recordings' top-1
        and cross-entropy for each decay to choose from.

    Raises:
        InputError: a network without layers, data that do not fit, or an `output` of another run.
        FailureError: a full disk.
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
    if info.label_kind == MULTI_LABEL:
        raise InputError(
            "A classifier is fitted to clips with one label each. Received: "
            f"{data}, whose clips have several. Fine-tune the network with "
            "`freeze=all_but_head` instead."
        )
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
    earlier = find_earlier_run(folder, config, info.classes, record)
    if earlier is not None:
        earlier.check_unchanged()
        if earlier.is_finished:
            remove_features(folder)
            return load_run(folder)

    model = build_from_config(config.model, info.num_classes, config.stream)
    carried = copy_weights(source, model, info.classes)
    if earlier is None:
        run_directory.create_run(folder, config, info.classes, **record, **carried.ancestry())
    entries = tuple(read_index(data, TRAIN_SPLIT))
    labels = np.array([entry.label for entry in entries])
    with explaining_full_disk(folder, lambda: None):
        features = compute_features(
            network,
            source.model,
            clip,
            views,
            data,
            entries,
            folder,
            batch_size=batch_size,
            progress=progress,
        )
        classifier, fitted = _fit(features, labels, entries, info, class_weights, decay)
        model.classifier.kernel.assign(classifier.kernel.astype(np.float32))
        model.classifier.bias.assign(classifier.bias.astype(np.float32))
        run_directory.save_weights(folder, model, fitted=fitted)
    remove_features(folder)
    return Run(folder, config, info.classes, model, run_directory.read_run(folder)[2])


def _fit(
    features: np.ndarray,
    labels: np.ndarray,
    entries: Sequence[IndexEntry],
    info: DatasetInfo,
    class_weights: str,
    decay: float | None,
) -> tuple[LinearClassifier, dict[str, Any]]:
    """The classifier of features `[views, clips, channels]`, and what `run.json` says of it."""
    weights = None
    if class_weights == "balanced":
        counts = info.split(TRAIN_SPLIT)["clips_per_class"]
        weights = np.asarray(balanced_weights(counts, info.classes))[labels]
    measured: dict[str, Any] = {}
    if decay is None:
        folds = draw_held_out_folds(entries, info)
        decay, measured = choose_decay(features, labels, info.num_classes, folds, weights)
    classifier = fit_softmax_regression(
        np.concatenate(features),
        np.tile(labels, len(features)),
        info.num_classes,
        decay=decay,
        weights=None if weights is None else np.tile(weights, len(features)),
    )
    return classifier, {"decay": decay, **measured}


def _config(
    initial: ExperimentConfig, clip: ClipConfig, mirror: bool, class_weights: str
) -> ExperimentConfig:
    train = dataclasses.replace(
        initial.train, freeze=("all_but_head",), mirror=mirror, class_weights=class_weights
    )
    return initial.replace(clip=clip, eval_clip=None, distill=None, train=train)
