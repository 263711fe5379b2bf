"""Softmax regression: the linear classifier that explains features best, with decay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

_MAX_STEPS = 1000


@dataclass(frozen=True, eq=False)
class LinearClassifier:
    """`features @ kernel + bias`.

    Attributes:
        kernel: float64 `[channels, classes]`.
        bias: float64 `[classes]`.
    """

    kernel: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Float64 `[clips, classes]` of features `[clips, channels]`."""
        return np.asarray(features @ self.kernel + self.bias)

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float64 `[clips, classes]` of features `[clips, channels]`."""
        return np.asarray(log_softmax(self.logits(features), axis=1))


@dataclass(frozen=True, eq=False)
class FeatureScaling:
    """How features are brought to one scale, so that one decay means the same for every network.

    Features are centred; divided, each channel, by its deviation plus the channels' mean deviation,
    so that a few lively channels do not decide alone; and divided by one number, so that their mean
    square length is 1.

    Attributes:
        centre, scale: float64 `[channels]`.
    """

    centre: np.ndarray
    scale: np.ndarray

    @classmethod
    def from_features(cls, features: np.ndarray) -> FeatureScaling:
        """That of float `[samples, channels]`."""
        features = np.asarray(features, np.float64)
        centre = features.mean(axis=0)
        deviation = features.std(axis=0)
        scale = deviation + (deviation.mean() or 1.0)
        length = np.sqrt(np.mean(np.sum(((features - centre) / scale) ** 2, axis=1)))
        return cls(centre, scale * (length or 1.0))

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Float64 `[samples, channels + 1]`: scaled, and a last channel of ones for the bias."""
        scaled = (np.asarray(features, np.float64) - self.centre) / self.scale
        return np.concatenate([scaled, np.ones([len(scaled), 1])], axis=1)

    def classifier(self, parameters: np.ndarray) -> LinearClassifier:
        """Of features as they are, from parameters `[channels + 1, classes]` of scaled ones."""
        kernel = parameters[:-1] / self.scale[:, None]
        return LinearClassifier(kernel, parameters[-1] - self.centre @ kernel)


def fit_softmax_regression(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    decay: float,
    weights: np.ndarray | None = None,
) -> LinearClassifier:
    """Minimises the mean cross-entropy plus `decay` / 2 times the square sum of the parameters.

    The minimum is the only one. The parameters that decay are those for features as
    `FeatureScaling` brings them to one scale.

    Args:
        features: float `[samples, channels]`.
        labels: integer `[samples]`, in [0, num_classes).
        num_classes: number of classes; those without samples become the least likely.
        decay: greater than 0.
        weights: of each sample's cross-entropy, `[samples]`; None weighs all the same.
    """
    scaling = FeatureScaling.from_features(features)
    inputs = scaling.apply(features)
    count, channels = inputs.shape
    share = np.full(count, 1.0) if weights is None else np.asarray(weights, np.float64)
    share = share[:, None] / share.sum()
    wanted = np.eye(num_classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(channels, num_classes)
        logs = log_softmax(inputs @ parameters, axis=1)
        value = -np.sum(share * wanted * logs) + decay / 2 * np.sum(flat**2)
        gradient = inputs.T @ (share * (np.exp(logs) - wanted)) + decay * parameters
        return value, gradient.ravel()

    start = np.zeros(channels * num_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS})
    return scaling.classifier(found.x.reshape(channels, num_classes))
