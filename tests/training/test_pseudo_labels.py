"""Labels for clips without any."""

import numpy as np
import pytest

from perfnet_tf.training.classifier_fitting import fit_with_unlabelled
from perfnet_tf.training.pseudo_labels import pseudo_labels
from perfnet_tf.training.softmax_regression import fit_softmax_regression


def slow_pseudo_labels(logits, expected, alignment):
    """One clip and one class at a time."""
    classes = range(len(expected))
    rows = [[np.exp(value - max(row)) for value in row] for row in logits.tolist()]
    rows = [[value / sum(row) for value in row] for row in rows]
    means = [sum(row[c] for row in rows) / len(rows) for c in classes]
    shares = [alignment * expected[c] + (1 - alignment) * means[c] for c in classes]
    for _ in range(10):
        means = [sum(row[c] for row in rows) / len(rows) for c in classes]
        rows = [[row[c] * shares[c] / means[c] for c in classes] for row in rows]
        rows = [[value / sum(row) for value in row] for row in rows]
    labels = [row.index(max(row)) for row in rows]
    trust = [max(row) ** 4 for row in rows]
    sums = [sum(t for t, answer in zip(trust, labels, strict=True) if answer == c) for c in classes]
    weights = [t * shares[c] / sums[c] for t, c in zip(trust, labels, strict=True)]
    return labels, np.array(weights) / sum(weights)


@pytest.mark.parametrize("alignment", [0.0, 0.4, 1.0])
def test_as_a_slow_reference(alignment):
    random = np.random.default_rng(0)
    logits = random.normal(0, 9, [60, 4]) + [12.0, 0.0, 0.0, -4.0]  # sure enough as they are
    expected = np.array([0.1, 0.2, 0.3, 0.4])
    labels, weights = pseudo_labels(logits, expected, alignment)
    slow_labels, slow_weights = slow_pseudo_labels(logits, expected, alignment)
    assert labels.tolist() == slow_labels
    np.testing.assert_allclose(weights, slow_weights, rtol=1e-9)


def test_classes_count_as_much_as_their_shares():
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, [60, 4]) + [3.0, 0.0, 0.0, -1.0]
    shares = np.array([0.1, 0.2, 0.3, 0.4])
    labels, weights = pseudo_labels(logits, shares, 1.0)
    np.testing.assert_allclose(np.bincount(labels, weights, minlength=4), shares, rtol=1e-9)


def test_answers_that_are_sure_of_nothing_are_still_answers():
    """A classifier of one clip of each class decays until its probabilities are nearly equal."""
    logits = np.random.default_rng(0).normal(0, 1, [60, 3])
    shares = np.array([0.2, 0.3, 0.5])
    labels, weights = pseudo_labels(1e-3 * logits, shares, 1.0)
    expected_labels, expected_weights = pseudo_labels(logits, shares, 1.0)
    assert labels.tolist() == expected_labels.tolist()
    np.testing.assert_allclose(weights, expected_weights, rtol=1e-6)
    assert min(np.bincount(labels, minlength=3)) > 5
    labels, weights = pseudo_labels(np.zeros([4, 3]), shares, 1.0)
    assert np.isfinite(weights).all()


def test_a_sure_answer_counts_more_than_a_doubtful_one():
    logits = np.array([[9.0, 0.0]] * 9 + [[0.1, 0.0]] + [[0.0, 9.0]] * 9 + [[0.0, 0.1]])
    labels, weights = pseudo_labels(logits, np.full(2, 0.5), 1.0)
    assert labels.tolist() == [0] * 10 + [1] * 10
    assert weights.sum() == pytest.approx(1)
    assert weights[0] == pytest.approx(weights[10]) and weights[0] > 8 * weights[9]


def test_a_class_that_no_clip_is_expected_of_gets_none():
    logits = np.array([[9.0, 0.0, 0.0]] * 3)
    labels, weights = pseudo_labels(logits, np.array([0.0, 0.5, 0.5]), 1.0)
    assert 0 not in labels and np.isfinite(weights).all()


def test_clips_without_labels_tell_what_two_labelled_ones_of_each_class_do_not():
    """Four classes in 40 channels, of which few labelled clips leave the most to chance."""
    random = np.random.default_rng(1)
    centres = random.normal(0, 1, [4, 40])

    def draw(labels):
        return centres[labels] + random.normal(0, 1.8, [len(labels), 40])

    known, hidden, others = (np.arange(count) % 4 for count in (8, 200, 400))
    features, unknown, asked = draw(known)[None], draw(hidden)[None], draw(others)
    first = fit_softmax_regression(features[0], known, 4, decay=0.1)
    both, taken = fit_with_unlabelled(features, known, unknown, first, decay=0.1)
    assert sum(taken) == 200 and max(taken) < 60

    def accuracy(classifier):
        return np.mean(classifier.logits(asked).argmax(axis=1) == others)

    assert accuracy(first) > 0.6 and accuracy(both) > accuracy(first) + 0.05
    np.testing.assert_array_equal(both.logits(features[0]).argmax(axis=1), known)


def test_views_of_a_clip_get_one_label():
    features = np.array([[[0.0], [1.0]], [[0.1], [0.9]]])
    classifier = fit_softmax_regression(
        np.concatenate(features), np.array([0, 1, 0, 1]), 2, decay=0.01
    )
    # The second view of the second clip alone would be of class 0.
    unknown = np.array([[[0.05], [2.0]], [[0.0], [0.3]]])
    _, taken = fit_with_unlabelled(features, np.array([0, 1]), unknown, classifier, decay=0.01)
    assert taken == [1, 1]
