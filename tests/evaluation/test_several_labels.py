"""Average precision, and scores of clips with several labels."""

import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.evaluation import metrics
from perfnet_tf.evaluation.fusion import ClipScores, fuse

# Four clips, three classes; the last has no clip.
LOGITS = np.array([[4.0, 0, 1], [3, 5, 1], [2, 1, 1], [1, 2, 9]])
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0]])


def slow_average_precision(scores, right):
    """Precision at every threshold, weighted by the step in recall."""
    value, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        new = (right & chosen).sum() / right.sum()
        value += (right & chosen).sum() / chosen.sum() * (new - recall)
        recall = new
    return value


def random_scores(seed=3):
    random = np.random.default_rng(seed)
    labels = (random.random((300, 12)) < 0.2).astype(np.int32)
    labels[:, 7] = 0  # no clip
    labels[~labels.any(axis=1), 0] = 1
    logits = random.normal(size=labels.shape).round(1) + labels  # full of ties
    return logits, labels


def test_average_precision_by_hand():
    # Class 0: hits at ranks 1, 3, 4: (1 + 2/3 + 3/4) / 3. Class 1: at 1 and 3: (1 + 2/3) / 2.
    values = metrics.average_precisions(LOGITS, LABELS)
    np.testing.assert_allclose(values[:2], [(1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3) / 2])
    assert np.isnan(values[2])
    assert metrics.mean_average_precision(LOGITS, LABELS) == pytest.approx(values[:2].mean())


def test_average_precision_is_that_of_a_slow_reference():
    logits, labels = random_scores()
    values = metrics.average_precisions(logits, labels)
    for column in range(12):
        if column != 7:
            expected = slow_average_precision(logits[:, column], labels[:, column] > 0)
            assert values[column] == pytest.approx(expected, abs=1e-12)


def test_map_is_that_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    for seed in range(5):
        logits, labels = random_scores(seed)
        present = labels.any(axis=0)
        expected = sklearn.average_precision_score(
            labels[:, present], logits[:, present], average="macro"
        )
        assert metrics.mean_average_precision(logits, labels) == pytest.approx(expected, abs=1e-12)


def test_equal_scores_are_chance():
    labels = np.array([[1], [1], [1], [1]] + [[1]] * 6)
    labels = np.concatenate([labels, np.arange(10)[:, None] < 3], axis=1)
    values = metrics.average_precisions(np.zeros((10, 2)), labels)
    np.testing.assert_allclose(values, [1.0, 0.3])


def test_top_k_asks_for_one_of_the_labels():
    np.testing.assert_array_equal(metrics.label_ranks(LOGITS, LABELS), [0, 0, 0, 2])
    summary = metrics.accuracy_summary(LOGITS, LABELS)
    assert (summary["top1"], summary["top5"], summary["num_clips"]) == (0.75, 1.0, 4)
    assert summary["mAP"] == metrics.mean_average_precision(LOGITS, LABELS)
    assert "mean_class_accuracy" not in summary


@pytest.mark.parametrize(
    "logits, labels", [(LOGITS, LABELS[:, :2]), (LOGITS, 0 * LABELS), (LOGITS * np.nan, LABELS)]
)
def test_refusals(logits, labels):
    with pytest.raises(InputError):
        metrics.average_precisions(logits, labels)


def scores(order=(0, 1, 2), labels=LABELS):
    classes = ("down", "up", "left")
    ids = ("a", "b", "c", "d")
    order = list(order)
    return ClipScores(ids, labels[:, order], LOGITS[:, order], tuple(classes[i] for i in order))


def test_fusion_brings_labels_into_the_order_of_the_first_network():
    fused = fuse([scores(), scores((2, 0, 1))])
    np.testing.assert_array_equal(fused.labels, LABELS)
    np.testing.assert_array_equal(fused.logits, 2 * LOGITS)
    assert fused.label_names() == ["down", "up", "down; up", "down"]


def test_fusion_refuses_other_labels():
    other = LABELS.copy()
    other[2, 2] = 1
    with pytest.raises(InputError, match="'c' as 'down; up' and as 'down; up; left'"):
        fuse([scores(), scores(labels=other)])


def test_scores_are_read_back(tmp_path):
    scores().save(tmp_path / "scores.npz")
    np.testing.assert_array_equal(ClipScores.load(tmp_path / "scores.npz").labels, LABELS)
