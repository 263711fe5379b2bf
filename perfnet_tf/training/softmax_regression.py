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

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Float64 `[clips, classes]` of features `[clips, channels]`."""
        return np.asarray(log_softmax(features @ self.kernel + self.bias, axis=1))


def fit_softmax_regression(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    decay: float,
    weights: np.ndarray | None = None,
) -> LinearClassifier:
    """Minimises the mean cross-entropy plus `decay` / 2 times the square sum of the parameters.

    The minimum is the only one. The parameters that decay are those for features that were
    centred; divided, each channel, by its deviation plus the channels' mean deviation, so that a
    few lively channels do not decide alone; and divided by one number, so that their mean square
    length is 1: one `decay` then means the same for every network.

    Args:
        features: float `[samples, channels]`.
        labels: integer `[samples]`, in [0, num_classes).
        num_classes: number of classes; those without samples become the least likely.
        decay: greater than 0.
        weights: of each sample's cross-entropy, `[samples]`; None weighs all the same.
    """
    features = np.asarray(features, np.float64)
    count, channels = features.shape
    centre = features.mean(axis=0)
    deviation = features.std(axis=0)
    scale = deviation + (deviation.mean() or 1.0)  # [channels]
    scale *= np.sqrt(np.mean(np.sum(((features - centre) / scale) ** 2, axis=1))) or 1.0
    inputs = np.concatenate([(features - centre) / scale, np.ones([count, 1])], axis=1)
    share = np.full(count, 1.0) if weights is None else np.asarray(weights, np.float64)
    share = share[:, None] / share.sum()
    wanted = np.eye(num_classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = flat.reshape(channels + 1, num_classes)
        logs = log_softmax(inputs @ parameters, axis=1)
        value = -np.sum(share * wanted * logs) + decay / 2 * np.sum(flat**2)
        gradient = inputs.T @ (share * (np.exp(logs) - wanted)) + decay * parameters
        return value, gradient.ravel()

    start = np.zeros((channels + 1) * num_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS})
    parameters = found.x.reshape(channels + 1, num_classes)
    kernel = parameters[:-1] / scale[:, None]
    return LinearClassifier(kernel, parameters[-1] - centre @ kernel)
