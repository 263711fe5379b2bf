"""Which clip is which element of the training order: a function of the seed and the element only.

No permutation of a split is ever stored, and a run resumes at any element.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from perfnet_tf.config import SAMPLINGS
from perfnet_tf.errors import check_choice


def training_order(
    labels: np.ndarray, seed: int, sampling: str = "every_clip"
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A graph function from an element of the training order to the position of its record.

    Args:
        labels: integer `[clips]`, the class of each record.
        seed: of the order.
        sampling: `every_clip`: see `shuffled_position`. `balanced`: as many consecutive elements
            as there are classes with clips, from a multiple of that number, hold each class once,
            in random order; a class takes each of its clips once before any comes again.

    Returns:
        int64 scalar, 0 or greater, to int64 scalar in [0, clips).

    Raises:
        InputError: an unknown sampling.
    """
    check_choice("sampling", sampling, SAMPLINGS)
    if sampling == "every_clip":
        return lambda element: shuffled_position(element, len(labels), seed)
    positions = np.argsort(labels, kind="stable").astype(np.int64)
    found = np.unique(np.asarray(labels)[positions], return_index=True, return_counts=True)
    first, sizes = (values.astype(np.int64) for values in found[1:])
    classes = len(sizes)

    def balanced_position(element: tf.Tensor) -> tf.Tensor:
        turn = element // classes
        chosen = _shuffle(element % classes, 2 * seed, turn, classes)
        size = tf.gather(sizes, chosen)
        # Each pass over a class is a permutation of its own, seeded by class and pass.
        place = _shuffle(turn % size, 2 * seed + 1, turn // size * classes + chosen, size)
        return tf.gather(positions, tf.gather(first, chosen) + place)

    return balanced_position


def shuffled_position(element: tf.Tensor, num_clips: int, seed: int) -> tf.Tensor:
    """Which record is number `element` of the training order; a graph function.

    Args:
        element: int64 scalar, 0 or greater.
        num_clips: records in the split.
        seed: of the order.

    Returns:
        int64 scalar in [0, `num_clips`). Each run of `num_clips` elements from a multiple of it is
        its own permutation.
    """
    epoch = element // num_clips
    # A bijection computed place by place: no permutation of the whole split is ever stored.
    return _shuffle(element % num_clips, seed, epoch, num_clips)


def _shuffle(place: tf.Tensor, seed: int, number: tf.Tensor, size: int | tf.Tensor) -> tf.Tensor:
    """Where `place` is in permutation `number` of `size` places."""
    shuffled: tf.Tensor = tf.random.experimental.index_shuffle(
        place,
        seed=tf.cast(tf.stack([tf.cast(seed, tf.int64), number]) % 2**31, tf.int32),
        max_index=tf.cast(size, tf.int64) - 1,
    )
    return shuffled
