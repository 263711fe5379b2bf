import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.evaluation import metrics

# Four clips, three classes; by hand: ranks of the right class are 0, 1, 2, 0.
LOGITS = np.array([[5.0, 1, 0], [3, 2, 1], [3, 2, 1], [0, 0, 9]])
LABELS = np.array([0, 1, 2, 2])


def test_ranks_count_the_classes_put_before_the_right_one():
    np.testing.assert_array_equal(metrics.label_ranks(LOGITS, LABELS), [0, 1, 2, 0])


def test_top_k_by_hand():
    assert metrics.top_k_accuracy(LOGITS, LABELS, 1) == 0.5
    assert metrics.top_k_accuracy(LOGITS, LABELS, 2) == 0.75
    assert metrics.top_k_accuracy(LOGITS, LABELS, 3) == 1.0


def test_ties_go_to_the_lower_index_so_constant_logits_score_class_0_only():
    logits = np.zeros((3, 3))
    labels = np.array([0, 1, 2])
    np.testing.assert_array_equal(metrics.label_ranks(logits, labels), [0, 1, 2])
    np.testing.assert_array_equal(
        metrics.confusion_matrix(logits, labels), [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    )


def test_top_k_equals_sorting():
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 4, (200, 7)).astype(np.float32)  # full of ties
    labels = rng.integers(0, 7, 200)
    order = np.argsort(-logits, axis=1, kind="stable")
    for k in (1, 2, 5):
        expected = np.mean([label in row[:k] for label, row in zip(labels, order, strict=True)])
        assert metrics.top_k_accuracy(logits, labels, k) == expected
    assert np.trace(metrics.confusion_matrix(logits, labels)) / 200 == metrics.top_k_accuracy(
        logits, labels, 1
    )


def test_confusion_rows_are_the_right_classes():
    np.testing.assert_array_equal(
        metrics.confusion_matrix(LOGITS, LABELS), [[1, 0, 0], [1, 0, 0], [1, 0, 1]]
    )


def test_class_without_clips_is_nan_and_left_out_of_the_mean():
    confusion = np.array([[3, 1, 0], [0, 0, 0], [1, 0, 1]])
    np.testing.assert_array_equal(metrics.per_class_accuracy(confusion), [0.75, np.nan, 0.5])
    assert metrics.mean_class_accuracy(confusion) == 0.625


def test_summary_has_json_numbers():
    assert metrics.accuracy_summary(LOGITS, LABELS) == {
        "top1": 0.5,
        "top5": 1.0,
        "mean_class_accuracy": 0.5,
        "num_clips": 4,
    }


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "Labels must be in"),
        (np.zeros((2, 3)), np.array([-1, 0]), "Labels must be in"),
        (np.array([[1.0, np.nan]]), np.array([0]), "must be finite"),
        (np.array([[1.0, np.inf]]), np.array([0]), "must be finite"),
        (np.zeros((0, 3)), np.zeros(0, int), "at least one clip"),
        (np.zeros((2, 3)), np.zeros(3, int), "one label per clip"),
    ],
)
def test_bad_scores_are_refused(logits, labels, message):
    with pytest.raises(InputError, match=message):
        metrics.top_k_accuracy(logits, labels, 1)


def test_k_must_be_positive():
    with pytest.raises(InputError, match="k must be"):
        metrics.top_k_accuracy(LOGITS, LABELS, 0)
