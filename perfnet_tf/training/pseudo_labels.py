"""Labels for clips without any: what a classifier of the labelled clips says of them.

Lee 2013, "Pseudo-Label", with the distribution alignment of ReMixMatch (arXiv:1911.09785): a
classifier of few clips prefers some classes, so its probabilities are scaled, class by class, until
every class has its expected share of the clips.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

#: Rounds of scaling; the shares then differ by less than a clip.
_ROUNDS = 10
#: Probabilities of the answers count by this power.
_POWER = 4
#: Mean probability of the answers, at least: a classifier of few clips decays so much that it is
#: sure of nothing, and shares would then decide instead of its answers.
_SURE = 0.9
_LARGEST_FACTOR = 1e6
_SMALL = 1e-12


def pseudo_labels(
    logits: np.ndarray, class_shares: np.ndarray, alignment: float
) -> tuple[np.ndarray, np.ndarray]:
    """Classes of clips by a classifier, and how much each clip counts.

    Args:
        logits: float `[clips, classes]`.
        class_shares: float `[classes]`, sum 1: the expected share of each class in the clips.
        alignment: in [0, 1]: 1 gives every class its expected share, 0 the one that the classifier
            finds, and between them the mean of both by that weight.

    Returns:
        Integer `[clips]`; float64 `[clips]`, sum 1. A class's clips together count as much as its
        share, the surer the answer the more.
    """
    probabilities = _softmax(_sharpened(np.asarray(logits, np.float64)))
    found = probabilities.mean(axis=0)
    shares = found + alignment * (class_shares - found)
    for _ in range(_ROUNDS):
        probabilities *= shares / np.maximum(probabilities.mean(axis=0), _SMALL)
        probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), _SMALL)
    labels = probabilities.argmax(axis=1)
    trust = probabilities.max(axis=1) ** _POWER
    of_class = np.bincount(labels, trust, minlength=len(shares))
    weights = trust * (shares / np.maximum(of_class, _SMALL))[labels]
    return labels, weights / weights.sum()


def _sharpened(logits: np.ndarray) -> np.ndarray:
    """Logits times a factor of 1 or more, so that answers are as sure as `_SURE` on the mean."""

    def lacking(factor: float) -> float:
        return _SURE - float(_softmax(factor * logits).max(axis=1).mean())

    if lacking(1.0) <= 0:
        return logits
    if lacking(_LARGEST_FACTOR) >= 0:
        return _LARGEST_FACTOR * logits
    return float(brentq(lacking, 1.0, _LARGEST_FACTOR)) * logits


def _softmax(logits: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(logits, axis=1))
