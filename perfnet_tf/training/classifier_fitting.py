"""A new classifier on a network that stays as it is: each clip passes it once per view.

Minutes on a CPU where fine-tuning takes hours, and hard to beat where a class has few clips. The
features of a few fixed views of every training clip are computed once, and the classifier is the
softmax regression on them. Its decay is chosen on recordings that are held out in turn. Clips
without labels add to them by what that classifier says of them (`pseudo_labels`).
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
from perfnet_tf.training.pseudo_labels import pseudo_labels
from perfnet_tf.training.run_identity import find_earlier_run
from perfnet_tf.training.softmax_regression import LinearClassifier, fit_softmax_regression
from perfnet_tf.training.sources import (
    copy_weights,
    describe,
    describe_dataset,
    read_unlabelled_info,
)
from perfnet_tf.training.view_features import compute_features, remove_features

#: Labelled clips of each class with which a classifier knows as well as the labelled clips do in
#: which shares the classes are among others. Eight classes of UCF-101, five draws: always taking
#: those of the labelled clips gains more with 2 of each class and loses with 16.
_TRUSTED = 8


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
    unlabelled: str | pathlib.Path | None = None,
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
        unlabelled: a prepared dataset whose clips of its split `train` are of these classes, in
            about the shares that the labelled clips have (equal ones with `balanced`); its labels
            are ignored. They are labelled by the classifier that the labelled clips give, the
            surer the answer the more a clip counts, and all of them together count as much as the
            labelled ones. The more labelled clips, the more the classes' shares are those that the
            classifier finds.
        batch_size: clips that pass the network at once.
        progress: report on standard error.

    Returns:
        The run. Its `run.json` says under `fitted` the decay, and the held-out recordings' top-1
        and cross-entropy for each decay to choose from; and with `unlabelled` how many of its clips
        were taken for each class.

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
    others = None
    if unlabelled is not None:
        others = read_unlabelled_info(unlabelled, info, TRAIN_SPLIT)
        check_streams([network.stream], others)
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
    if others is not None:
        record["unlabelled"] = describe_dataset(others, TRAIN_SPLIT)
    folder = pathlib.Path(output)
    earlier = find_earlier_run(folder, config, info.classes, {"unlabelled": None, **record})
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
    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    with explaining_full_disk(folder, lambda: None):
        features = compute_features(
            network, source.model, clip, views, data, entries, folder, **options
        )
        weights = _clip_weights(labels, info, class_weights)
        classifier, fitted = _fit(features, labels, entries, info, weights, decay)
        if unlabelled is not None:
            unknown = compute_features(
                network,
                source.model,
                clip,
                views,
                unlabelled,
                tuple(read_index(unlabelled, TRAIN_SPLIT)),
                folder,
                name="unlabelled",
                **options,
            )
            classifier, taken = fit_with_unlabelled(
                features, labels, unknown, classifier, decay=fitted["decay"], weights=weights
            )
            fitted["unlabelled"] = dict(zip(info.classes, taken, strict=True))
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
    weights: np.ndarray,
    decay: float | None,
) -> tuple[LinearClassifier, dict[str, Any]]:
    """The classifier of features `[views, clips, channels]`, and what `run.json` says of it."""
    measured: dict[str, Any] = {}
    if decay is None:
        folds = draw_held_out_folds(entries, info)
        decay, measured = choose_decay(features, labels, info.num_classes, folds, weights)
    classifier = fit_softmax_regression(
        np.concatenate(features),
        np.tile(labels, len(features)),
        info.num_classes,
        decay=decay,
        weights=np.tile(weights, len(features)),
    )
    return classifier, {"decay": decay, **measured}


def _clip_weights(labels: np.ndarray, info: DatasetInfo, class_weights: str) -> np.ndarray:
    """How much each clip counts: float64 `[clips]`, mean 1."""
    if class_weights == "none":
        return np.ones(len(labels))
    counts = info.split(TRAIN_SPLIT)["clips_per_class"]
    of_classes = np.asarray(balanced_weights(counts, info.classes))
    return np.asarray(of_classes[labels])


def fit_with_unlabelled(
    features: np.ndarray,
    labels: np.ndarray,
    unlabelled: np.ndarray,
    classifier: LinearClassifier,
    *,
    decay: float,
    weights: np.ndarray | None = None,
) -> tuple[LinearClassifier, list[int]]:
    """A classifier of clips with labels, and of others by what a first classifier says of them.

    Args:
        features: float `[views, clips, channels]`.
        labels: integer `[clips]`.
        unlabelled: float `[views, others, channels]`.
        classifier: of the labelled clips; the mean of its logits over the views labels the others.
        decay: as of `fit_softmax_regression`.
        weights: of the labelled clips, `[clips]`; None weighs all the same. The sums of each class
            are the shares of the classes that the others are expected to have.

    Returns:
        The classifier, and how many of the others were taken for each class.
    """
    num_classes = len(classifier.bias)
    weights = np.ones(len(labels)) if weights is None else weights
    known = weights / weights.sum()
    shares = np.bincount(labels, known, minlength=num_classes)
    logits = np.mean([classifier.logits(view) for view in unlabelled], axis=0)
    alignment = _TRUSTED / (_TRUSTED + len(labels) / num_classes)
    guesses, trust = pseudo_labels(logits, shares, alignment)
    views = [np.concatenate(pair) for pair in zip(features, unlabelled, strict=True)]
    both = fit_softmax_regression(
        np.concatenate(views),
        np.tile(np.concatenate([labels, guesses]), len(views)),
        num_classes,
        decay=decay,
        weights=np.tile(np.concatenate([known, trust]), len(views)),
    )
    return both, np.bincount(guesses, minlength=num_classes).tolist()


def _config(
    initial: ExperimentConfig, clip: ClipConfig, mirror: bool, class_weights: str
) -> ExperimentConfig:
    train = dataclasses.replace(
        initial.train, freeze=("all_but_head",), mirror=mirror, class_weights=class_weights
    )
    return initial.replace(clip=clip, eval_clip=None, distill=None, train=train)
