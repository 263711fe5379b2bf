"""A full 3 x 3 x 3 convolution as a 1 x 3 x 3 and a 3 x 1 x 1 one, fitted to real activations.

S3D-G computes `relu(T * relu(norm(S * x)) + b)` where I3D computes `relu(norm(W * x))`. Without the
inner ReLU, S and T factorise W: as a matrix from the 9 Cin values of a frame's window to the 3 Cout
values that it adds to three frames, W becomes one of rank Cout. S is the best such factor for the
activations that occur; an offset keeps most of its outputs out of the inner ReLU's flat half; and T
and b are then the least squares of what the full convolution answers, with that ReLU and the zeros
beyond the first and the last frame in place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perfnet_tf.errors import InputError

#: The separable convolution's kernel is 3 long in time and space, as the full one's.
SIZE = 3
#: Offset of the inner ReLU in deviations of its input.
OFFSET = 2.0
#: Shares of the mean square that least squares may add to every square.
RIDGES = (1e-4, 1e-3, 1e-2)
#: Least squares over again, with errors below the outer ReLU left out.
ONE_SIDED_ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Places:
    """Where a convolution is looked at.

    Attributes:
        windows: float32 `[places, 3, 9 * Cin]`, what the separable one sees around each: of three
            frames the 3 x 3 pixels (rows, columns, channels).
        inside: bool `[places, 3]`, whether that frame is one of the clip; others are zeros.
        targets: float32 `[places, Cout]`, the full one's outputs there, before its ReLU.
    """

    windows: np.ndarray
    inside: np.ndarray
    targets: np.ndarray

    def missed(self, answers: np.ndarray) -> float:
        """Share of the variance of the targets, behind the ReLU, that `answers` miss."""
        answered, target = np.maximum(answers, 0), np.maximum(self.targets, 0)
        variance = np.sum((target - target.mean(axis=0)) ** 2)
        return float(np.sum((answered - target) ** 2) / max(variance, np.finfo(np.float32).tiny))


@dataclass(frozen=True, eq=False)
class SeparableUnit:
    """The weights of one separable convolution.

    Attributes:
        spatial: float32 `[1, 3, 3, Cin, Cout]`.
        mean, variance, beta: of the norm behind it, float32 `[Cout]`.
        temporal: float32 `[3, 1, 1, Cout, Cout]`.
        bias: behind that, float32 `[Cout]`.
    """

    spatial: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    beta: np.ndarray
    temporal: np.ndarray
    bias: np.ndarray

    def answers(self, places: Places, epsilon: float) -> np.ndarray:
        """float32 `[places, Cout]`, before the outer ReLU; `epsilon` of the norm."""
        channels = len(self.bias)
        factor, deviation = self.spatial.reshape(-1, channels), np.sqrt(self.variance + epsilon)
        features = _InnerUnit(factor, self.mean, deviation, self.beta).features(places)
        answers: np.ndarray = features @ self.temporal.reshape(-1, channels) + self.bias
        return answers


def separate(
    kernel: np.ndarray, fitted_to: Places, held_out: Places, *, epsilon: float
) -> SeparableUnit:
    """Fits a separable convolution to what a full one answers.

    Args:
        kernel: `[3, 3, 3, Cin, Cout]`, of the full convolution, its norm's scale included.
        fitted_to: places of clips.
        held_out: of other clips; they choose among `RIDGES`.
        epsilon: of the norm between the two.

    Raises:
        InputError: fewer places than unknowns.
    """
    frames, _, _, channels, filters = kernel.shape
    if len(fitted_to.targets) <= frames * filters:
        raise InputError(
            f"A fit of {filters} channels takes more than {frames * filters} places. Received: "
            f"{len(fitted_to.targets)} of all clips. Give more `places`, or, where the clips have "
            "no more, more clips or larger ones."
        )
    seen = fitted_to.windows[fitted_to.inside]  # [frames that exist, 9 * Cin]
    factor = _principal_factor(kernel, seen)
    values = seen @ factor
    mean, variance = values.mean(axis=0), values.var(axis=0)
    # The longer tail upwards, where the ReLU cuts nothing off.
    sign = np.where(np.mean((values - mean) ** 3, axis=0) < 0, -1, 1).astype(np.float32)
    factor, mean = factor * sign, mean * sign
    inner = _InnerUnit(factor, mean, np.sqrt(variance + epsilon), np.full_like(mean, OFFSET))
    solution = _one_sided_least_squares(
        inner.features(fitted_to), fitted_to.targets, inner.features(held_out), held_out
    )
    return SeparableUnit(
        factor.reshape(1, SIZE, SIZE, channels, filters),
        mean,
        variance,
        inner.beta,
        solution[:-1].reshape(frames, 1, 1, filters, filters),
        solution[-1],
    )


@dataclass(frozen=True, eq=False)
class _InnerUnit:
    """Spatial convolution, norm and ReLU: `[9 * Cin, Cout]`, and `[Cout]` of the norm."""

    factor: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    beta: np.ndarray

    def features(self, places: Places) -> np.ndarray:
        """float32 `[places, 3 * Cout]`, what the temporal convolution sees; 0 beyond the clip."""
        projected = places.windows @ self.factor
        features = np.maximum((projected - self.mean) / self.deviation + self.beta, 0)
        features[~places.inside] = 0
        flat: np.ndarray = features.reshape(len(features), -1)
        return flat


def _principal_factor(kernel: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """float32 `[9 * Cin, Cout]`: the rank-Cout factor that loses least of `kernel` on `seen`.

    Its outputs are uncorrelated on `seen`, each with a mean square of 1.
    """
    frames, _, _, _, filters = kernel.shape
    matrix = kernel.astype(np.float64).transpose(1, 2, 3, 0, 4)
    matrix = matrix.reshape(-1, frames * filters)  # [9 * Cin, 3 * Cout]
    root = _root_of_squares(seen, RIDGES[0])
    left = np.linalg.svd(root.T @ matrix, full_matrices=False)[0][:, :filters]
    return np.linalg.solve(root.T, left).astype(np.float32)


def _root_of_squares(values: np.ndarray, ridge: float) -> np.ndarray:
    """float64 Cholesky factor of the mean square of `values` `[samples, n]`, with a ridge."""
    squares = (values.T @ values).astype(np.float64) / len(values)
    added = ridge * np.trace(squares) / len(squares) + np.finfo(np.float32).tiny
    squares[np.diag_indices_from(squares)] += added
    return np.linalg.cholesky(squares)


def _one_sided_least_squares(
    features: np.ndarray, targets: np.ndarray, held_out_features: np.ndarray, held_out: Places
) -> np.ndarray:
    """float32 `[values + 1, outputs]`, the last row the constant.

    Where the target is negative, any negative answer is right: the ReLU behind makes both zero.
    Each round takes the last one's negative answers for the target there, which never makes the
    error larger.
    """
    design, other = _with_ones(features), _with_ones(held_out_features)

    def solve(root: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        moments = (design.T @ wanted).astype(np.float64) / len(design)
        solution = np.linalg.solve(root.T, np.linalg.solve(root, moments))
        return np.asarray(solution, np.float32)

    roots = [_root_of_squares(design, ridge) for ridge in RIDGES]
    solutions = [solve(root, targets) for root in roots]
    errors = [held_out.missed(other @ solution) for solution in solutions]
    best = int(np.argmin(errors))
    root, solution = roots[best], solutions[best]
    for _ in range(ONE_SIDED_ROUNDS):
        answers = design @ solution
        solution = solve(root, np.where(targets < 0, np.minimum(answers, 0), targets))
    return solution


def _with_ones(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.ones((len(features), 1), features.dtype)], axis=1)
