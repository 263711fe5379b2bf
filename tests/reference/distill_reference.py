"""PERF-Net's Eq. 1 and its rivals in plain NumPy, clip by clip and class by class."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np


def cross_entropy(logits: np.ndarray, labels: Sequence[int]) -> float:
    """Mean over clips of -log softmax(logits)[label]."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        total += math.log(sum(math.exp(value) for value in row)) - row[label]
    return total / len(logits)


def smoothed_cross_entropy(
    logits: np.ndarray,
    labels: Sequence[int],
    smoothing: float,
    class_weights: Sequence[float] | None = None,
) -> float:
    """Mean over clips of -sum_c t_c log p_c, t spread over all classes by `smoothing`."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        for index, probability in enumerate(softmax(row)):
            target = smoothing / len(row) + (1 - smoothing) * (index == label)
            weight = 1.0 if class_weights is None else class_weights[label]
            total -= weight * target * math.log(probability)
    return total / len(logits)


def sigmoid_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean over clips and classes of -t log p - (1 - t) log(1 - p), p the sigmoid."""
    total = 0.0
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        p = 1 / (1 + math.exp(-float(logit)))
        total -= target * math.log(p) + (1 - target) * math.log(1 - p)
    return total / logits.size


def mean_squared_error(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean over clips and classes."""
    total = 0.0
    for teacher_row, student_row in zip(teacher, student, strict=True):
        for t, s in zip(teacher_row, student_row, strict=True):
            total += (float(t) - float(s)) ** 2
    return total / student.size


def standardized_error(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean squared error of each clip's logits, brought to mean 0 and deviation 1."""
    brought = []
    for logits in (teacher, student):
        rows = [(row - row.mean()) / row.std() for row in logits.astype(np.float64)]
        brought.append(np.array(rows))
    return mean_squared_error(*brought)


def divergence(teacher: np.ndarray, student: np.ndarray, temperature: float) -> float:
    """temperature^2 times the mean over clips of sum_c p_c log(p_c / q_c)."""
    total = 0.0
    for teacher_row, student_row in zip(teacher, student, strict=True):
        p, q = (softmax(row / temperature) for row in (teacher_row, student_row))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(teacher)


def softmax(row: np.ndarray) -> list[float]:
    """Probabilities of one clip's logits."""
    powers = [math.exp(float(value)) for value in row]
    return [power / sum(powers) for power in powers]


def loss(
    kind: str,
    student: np.ndarray,
    labels: Sequence[int],
    teachers: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
    term: Callable[[np.ndarray, np.ndarray], float] = mean_squared_error,
) -> float:
    """L = CE(S) + sum_i w_i D(T_i, S), or L = CE(S) + w D(sum_i T_i, S)."""
    result = cross_entropy(student, labels)
    if kind == "separate":
        for name, teacher in teachers.items():
            result += weights.get(name, 1.0) * term(teacher, student)
    else:
        result += weights.get("unified", 1.0) * term(sum(teachers.values()), student)
    return result


def gradient(function, at: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a scalar function of an array, in float64."""
    at = at.astype(np.float64)
    result = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        above, below = at.copy(), at.copy()
        above[index] += step
        below[index] -= step
        result[index] = (function(above) - function(below)) / (2 * step)
    return result
