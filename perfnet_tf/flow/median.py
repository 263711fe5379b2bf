"""A 5x5 median filter as a network of minima and maxima, which XLA compiles to one vector loop."""

from __future__ import annotations

import tensorflow as tf

from perfnet_tf.flow.grid import barrier, extend_edges

# Exchanges (low, high) that sort five values.
_SORT_5 = ((0, 1), (3, 4), (2, 4), (2, 3), (0, 3), (0, 2), (1, 4), (1, 3), (1, 2))

# Where the median of 25 can be once columns, and then rows, are sorted: element (i, j) has at least
# (i + 1)(j + 1) - 1 values below or equal, and (5 - i)(5 - j) - 1 above. Of the twelve others six
# are always below and six above, so the median of these 13 is the median of all.
_CANDIDATES = tuple(
    (i, j) for i in range(5) for j in range(5) if (i + 1) * (j + 1) <= 13 >= (5 - i) * (5 - j)
)


def median_5x5(image: tf.Tensor) -> tf.Tensor:
    """The median of each pixel's 5x5 neighbourhood, edges repeated, as `cv2.medianBlur` has it.

    Args:
        image: float32 `[batch, height, width]`, static shape, finite.

    Returns:
        Same shape and dtype. XLA only (`jit_compile=True`).
    """
    _, height, width = image.shape
    padded = barrier(extend_edges(image, 2, 2))[0]
    columns = [padded[:, i : i + height] for i in range(5)]
    _sort_5(columns)
    # Each sorted column serves five pixels; without the barrier XLA would sort it five times.
    columns = barrier(*columns)
    rows = []
    for column in columns:
        row = [column[:, :, j : j + width] for j in range(5)]
        _sort_5(row)
        rows.append(row)
    return _middle([rows[i][j] for i, j in _CANDIDATES])


def _exchange(values: list[tf.Tensor], low: int, high: int) -> None:
    values[low], values[high] = (
        tf.minimum(values[low], values[high]),
        tf.maximum(values[low], values[high]),
    )


def _sort_5(values: list[tf.Tensor]) -> None:
    for low, high in _SORT_5:
        _exchange(values, low, high)


def _middle(values: list[tf.Tensor]) -> tf.Tensor:
    """The median of an odd number of values, by forgetting a smallest and a largest in turn."""
    # Of n values, the smallest of any n // 2 + 2 cannot be the median, and neither can the largest.
    kept, waiting = values[: len(values) // 2 + 2], values[len(values) // 2 + 2 :]
    while len(kept) > 2:
        for i in range(len(kept) - 1):  # carries the largest to the end
            _exchange(kept, i, i + 1)
        for i in range(len(kept) - 2, 0, -1):  # and the smallest to the front
            _exchange(kept, i - 1, i)
        kept = kept[1:-1] + waiting[:1]
        waiting = waiting[1:]
    return kept[0]
