"""Accuracy and average precision from class scores, in plain NumPy.

Ties between equal logits go to the lower class index, for every measure here: a network that gives
all classes the same score is counted as answering class 0, not as right about everything.
"""

from __future__ import annotations

import numpy as np

from perfnet_tf.errors import InputError


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes each clip's network put before the right one.

    Args:
        logits: float [clips, classes], finite.
        labels: integer [clips], in [0, classes), or 0 and 1 [clips, classes] of several right
            classes: the one that the network put first counts.

    Returns:
        int64 [clips]; 0 where the right class came first. Equal logits: the lower index is first.

    Raises:
        InputError: shapes that do not match, labels out of range, NaN or infinite logits.
    """
    logits = np.asarray(logits)
    if np.ndim(labels) == 2:
        labels = np.where(_check_multi_hot(logits, labels), logits, -np.inf).argmax(axis=1)
    logits, labels = _check_scores(logits, labels)
    own = np.take_along_axis(logits, labels[:, None], axis=1)  # [clips, 1]
    lower_index = np.arange(logits.shape[1]) < labels[:, None]  # [clips, classes]
    return np.asarray(np.sum((logits > own) | ((logits == own) & lower_index), axis=1))


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of clips whose right class is among the `k` highest logits, in [0, 1].

    With `k` classes or fewer this is 1 by definition. Arguments and errors as in `label_ranks`.
    """
    if k < 1:
        raise InputError(f"k must be 1 or greater. Received: {k!r}.")
    return float(np.mean(label_ranks(logits, labels) < k))


def confusion_matrix(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts of clips by right class (row) and answered class (column).

    Returns:
        int64 [classes, classes]; the sum is the number of clips. Arguments and errors as in
        `label_ranks`.
    """
    logits, labels = _check_scores(logits, labels)
    counts = np.zeros((logits.shape[1], logits.shape[1]), np.int64)
    np.add.at(counts, (labels, np.argmax(logits, axis=1)), 1)  # argmax takes the lower index
    return counts


def per_class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """The share of each class's clips that was answered right: float64 [classes].

    NaN for a class without clips: it was not tested, which is not the same as 0.
    """
    clips = confusion.sum(axis=1)
    return np.asarray(
        np.divide(np.diagonal(confusion), clips, out=np.full(len(clips), np.nan), where=clips > 0)
    )


def mean_class_accuracy(confusion: np.ndarray) -> float:
    """The mean of `per_class_accuracy` over the classes that have clips."""
    return float(np.nanmean(per_class_accuracy(confusion)))


def average_precisions(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Average precision of each class: its clips ranked by their logits.

    The sum over clips, from the highest logit down, of precision times the step in recall, without
    interpolation; clips with equal logits are taken in one step. That is how Charades and
    scikit-learn define it; AVA takes the largest precision at that recall or above.

    Args:
        logits: float [clips, classes], finite; any increasing function of them gives the same.
        labels: [clips, classes], 1 where the clip is of the class, else 0.

    Returns:
        float64 [classes], in [0, 1]; NaN for a class without clips, which was not tested.

    Raises:
        InputError: shapes that do not match, NaN or infinite logits.
    """
    right = _check_multi_hot(logits, labels)
    values = np.full(right.shape[1], np.nan)
    for column in np.flatnonzero(right.any(axis=0)):
        scores = np.asarray(logits)[:, column]
        order = np.argsort(-scores, kind="stable")
        last_of_equals = np.flatnonzero(np.diff(scores[order], append=-np.inf))
        hits = np.cumsum(right[order, column])[last_of_equals]
        precision = hits / (last_of_equals + 1)
        values[column] = np.sum(precision * np.diff(hits, prepend=0)) / hits[-1]
    return values


def mean_average_precision(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean of `average_precisions` over the classes that have clips."""
    return float(np.nanmean(average_precisions(logits, labels)))


def accuracy_summary(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | int]:
    """`top1`, `top5`, `mean_class_accuracy` (all in [0, 1]) and `num_clips`.

    Of several labels per clip, `mAP` in place of `mean_class_accuracy`.
    """
    if np.ndim(labels) == 2:
        return {
            "mAP": mean_average_precision(logits, labels),
            "top1": top_k_accuracy(logits, labels, 1),
            "top5": top_k_accuracy(logits, labels, 5),
            "num_clips": len(labels),
        }
    return {
        "top1": top_k_accuracy(logits, labels, 1),
        "top5": top_k_accuracy(logits, labels, 5),
        "mean_class_accuracy": mean_class_accuracy(confusion_matrix(logits, labels)),
        "num_clips": len(labels),
    }


def _check_multi_hot(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`labels` as booleans."""
    logits, right = np.asarray(logits), np.asarray(labels) > 0
    if logits.ndim != 2 or right.shape != logits.shape or not right.any(axis=1).all():
        raise InputError(
            "Clips of several labels need logits and labels [clips, classes], and a label each. "
            f"Received: logits {logits.shape}, labels {right.shape}."
        )
    _refuse_not_finite(logits)
    return right


def _check_scores(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not logits.size:
        raise InputError(
            "Accuracy needs logits [clips, classes] and one label per clip, for at least one clip. "
            f"Received: logits {logits.shape}, labels {labels.shape}."
        )
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        raise InputError(
            f"Labels must be in [0, {logits.shape[1]}), the number of logits. "
            f"Received: {labels.min()} to {labels.max()}."
        )
    _refuse_not_finite(logits)
    return logits, labels.astype(np.int64)


def _refuse_not_finite(logits: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if bad.size:
        raise InputError(
            f"Logits must be finite. Received: NaN or infinity for {bad.size} of {len(logits)} "
            f"clips, the first at row {bad[0]}. Check that the training loss did not diverge."
        )
