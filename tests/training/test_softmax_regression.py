import numpy as np
import pytest

from perfnet_tf.training.decay_choice import DECAYS, DEFAULT_DECAY, choose_decay
from perfnet_tf.training.softmax_regression import fit_softmax_regression


def samples(count, channels, classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(3, 2, (count, channels)), rng.integers(0, classes, count)


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_has_no_slope_at_the_solution(weighted):
    features, labels = samples(40, 6, 4)
    weights = np.where(labels == 1, 3.0, 0.5) if weighted else np.ones(40)
    decay = 0.03
    found = fit_softmax_regression(
        features, labels, 4, decay=decay, weights=weights if weighted else None
    )
    # By hand, on features that are centred, evened out, and of mean square length 1.
    centre, deviation = features.mean(axis=0), features.std(axis=0)
    even = (features - centre) / (deviation + deviation.mean())
    inputs = even / np.sqrt(np.square(even).sum(axis=1).mean())
    kernel = found.kernel * ((features - centre)[:1] / inputs[:1]).T
    bias = found.bias + centre @ found.kernel
    errors = softmax(inputs @ kernel + bias) - np.eye(4)[labels]
    errors *= (weights / weights.sum())[:, None]
    np.testing.assert_allclose(inputs.T @ errors + decay * kernel, 0, atol=2e-5)
    np.testing.assert_allclose(errors.sum(axis=0) + decay * bias, 0, atol=2e-5)
    expected = np.log(softmax(features @ found.kernel + found.bias))
    np.testing.assert_allclose(found.log_probabilities(features), expected, atol=1e-9)


def test_answers_do_not_depend_on_the_features_scale_and_weights_are_repetitions():
    features, labels = samples(30, 5, 3)
    expected = fit_softmax_regression(features, labels, 3, decay=1e-2).log_probabilities(features)
    moved = features * 1000 - 7
    found = fit_softmax_regression(moved, labels, 3, decay=1e-2).log_probabilities(moved)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    twice = np.concatenate([features, features[labels == 2]])
    # Centre and scale are those of the samples, so the same samples must be there.
    weighted = fit_softmax_regression(
        twice,
        np.concatenate([labels, labels[labels == 2]]),
        3,
        decay=1e-2,
        weights=np.concatenate([np.where(labels == 2, 0.5, 1.0), np.full(sum(labels == 2), 0.5)]),
    )
    assert np.abs(weighted.log_probabilities(features) - expected).max() < 0.1


def test_classes_without_samples_are_the_least_likely():
    features, labels = samples(30, 5, 3)
    logs = fit_softmax_regression(features, labels, 5, decay=1e-3).log_probabilities(features)
    assert logs[:, 3:].max() < logs[:, :3].max(axis=1).min()


def test_more_noise_gets_more_decay():
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(4), 10)
    folds = [np.flatnonzero(np.arange(40) // 10 == k) for k in range(4)]
    clear = np.eye(4)[labels] + rng.normal(0, 0.02, (40, 4))
    noisy = np.concatenate([clear, rng.normal(0, 1.6, (40, 20))], axis=1)
    chosen = {}
    for name, features in (("clear", clear), ("noisy", noisy)):
        chosen[name], fitted = choose_decay(features[None], labels, 4, folds)
        losses = {key: value["cross_entropy"] for key, value in fitted["held_out"].items()}
        assert losses[f"{chosen[name]:g}"] == min(losses.values()) and len(losses) == len(DECAYS)
    assert fitted["held_out"]["0.01"]["top1"] > 0.5
    assert chosen["noisy"] > chosen["clear"]
    assert choose_decay(clear[None], labels, 4, []) == (DEFAULT_DECAY, {})
