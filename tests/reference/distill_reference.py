"""PERF-Net's Eq. 1 and its rival in plain NumPy, clip by clip and class by class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np


def cross_entropy(logits: np.ndarray, labels: Sequence[int]) -> float:
    """Mean over clips of -log softmax(logits)[label]."""
    total = 0.0
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        total += math.log(sum(math.exp(value) for value in row)) - row[label]
    return total / len(logits)


def mean_squared_error(teacher: np.ndarray, student: np.ndarray) -> float:
    """Mean over clips and classes."""
    total = 0.0
    for teacher_row, student_row in zip(teacher, student, strict=True):
        for t, s in zip(teacher_row, student_row, strict=True):
            total += (float(t) - float(s)) ** 2
    return total / student.size


def loss(
    kind: str,
    student: np.ndarray,
    labels: Sequence[int],
    teachers: Mapping[str, np.ndarray],
    weights: Mapping[str, float],
) -> float:
    """L = CE(S) + sum_i w_i MSE(T_i, S), or L = CE(S) + w MSE(sum_i T_i, S)."""
    result = cross_entropy(student, labels)
    if kind == "separate":
        for name, teacher in teachers.items():
            result += weights.get(name, 1.0) * mean_squared_error(teacher, student)
    else:
        result += weights.get("unified", 1.0) * mean_squared_error(sum(teachers.values()), student)
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
