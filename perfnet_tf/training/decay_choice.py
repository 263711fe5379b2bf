"""The decay of a classifier, chosen on recordings that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from perfnet_tf.datasets.groups import VALIDATION_FOLDS, draw_folds
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.training.softmax_regression import fit_softmax_regression

#: What `fit_classifier` chooses from.
DECAYS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
#: Where nothing can be held out: then a class has one recording, and the most decay does best.
DEFAULT_DECAY = 1e-1


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


def draw_held_out_folds(entries: Sequence[IndexEntry], info: DatasetInfo) -> list[np.ndarray]:
    """Places in `entries` of each part to hold out; as many parts as the recordings allow."""
    place = {entry.clip_id: index for index, entry in enumerate(entries)}
    for num_folds in range(VALIDATION_FOLDS, 1, -1):
        try:
            folds = draw_folds(entries, info.name, num_folds)
        except InputError:
            continue
        return [np.array([place[name] for name in fold]) for fold in folds]
    return []
