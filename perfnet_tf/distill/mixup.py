"""Mixup: clips and their labels, mixed in pairs.

Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization" (arXiv:1710.09412). A clip
becomes `share * clip + (1 - share) * partner`, and so does its label; shares are drawn from
Beta(alpha, alpha). As in the reference code, partners are a permutation of the batch. Our choice: a
share for each clip, as the paper's equation has it, where the reference code draws one per batch;
and clips without labels are mixed among themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from perfnet_tf.input_pipeline.unlabelled import is_labelled

#: Of every draw: the same bits on every device.
_ALGORITHM = "philox"


class MixedLabels(NamedTuple):
    """Labels of mixed clips, whose cross-entropy is the mean of both labels' by their shares.

    Attributes:
        first, second: labels as in batches, `[batch]` or `[batch, classes]`.
        share: float32 `[batch]`, of the first.
    """

    first: tf.Tensor
    second: tf.Tensor
    share: tf.Tensor


#: Of clips as they are, or of mixed ones.
Labels: TypeAlias = tf.Tensor | MixedLabels


class Mixing(NamedTuple):
    """What is mixed into the clips of a batch.

    Attributes:
        others: what a batch holds, of each clip's partner.
        share: float32 `[batch]`, of the clip itself.
    """

    others: Mapping[str, tf.Tensor]
    share: tf.Tensor


def draw_mixing(
    batch: Mapping[str, tf.Tensor], labels: tf.Tensor, alpha: float, seed: tf.Tensor
) -> Mixing:
    """Draws a partner and a share for every clip of one replica.

    Args:
        batch: `[batch, ...]` each.
        labels: of the batch.
        alpha: of the Beta distribution: small values leave most clips nearly as they are.
        seed: integer `[2]`, which decides the draw.
    """
    seeds = tf.random.split(seed, 2, _ALGORITHM)
    partners = draw_partners(labels, seeds[0])
    others = {name: _take(values, partners) for name, values in batch.items()}
    return Mixing(others, draw_shares(tf.shape(partners)[0], alpha, seeds[1]))


def step_seed(seed: int, step: tf.Tensor) -> tf.Tensor:
    """The seed of this replica's draws in a step: int64 `[2]`.

    Args:
        seed: of the run.
        step: int64 scalar, number of steps done.
    """
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    of_step = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64)])
    return tf.random.fold_in(of_step, tf.cast(replica, tf.int64), _ALGORITHM)


def draw_partners(labels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A permutation of the clips with labels, and one of those without: int32 `[batch]`."""
    unknown = tf.cast(~is_labelled(labels), tf.float32)
    shuffled = tf.argsort(unknown + _uniform(tf.shape(unknown), seed))
    in_order = tf.argsort(unknown, stable=True)
    return tf.gather(shuffled, tf.argsort(in_order, stable=True))


def draw_shares(count: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(alpha, alpha): float32 `[count]`.

    By arithmetic only, since XLA has no kernel for TensorFlow's gamma distribution. With U and V
    uniform and c = cos(2 pi V), s = (U^(-1/alpha) - 1) c^2 is the square of Student's t over its
    2 alpha degrees of freedom (Bailey 1994, Mathematics of Computation 62), and
    1/2 + sign(c) / (2 sqrt(1 + 1 / s)) has the symmetric beta distribution.
    """
    draws = _uniform([2, count], seed)
    cosine = tf.cos(2 * math.pi * draws[1])
    squared = (tf.pow(1 - draws[0], -1 / alpha) - 1) * tf.square(cosine)
    return 0.5 + 0.5 * tf.sign(cosine) * tf.math.rsqrt(1 + 1 / squared)


def mix(frames: tf.Tensor, others: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """`share * frames + (1 - share) * others`, of the same type; uint8 is rounded.

    Args:
        frames, others: `[batch, ...]`.
        share: float32 `[batch]`.
    """
    share = tf.reshape(share, [-1, *[1] * (frames.shape.rank - 1)])
    mixed = share * tf.cast(frames, tf.float32) + (1 - share) * tf.cast(others, tf.float32)
    return tf.cast(tf.round(mixed) if frames.dtype.is_integer else mixed, frames.dtype)


def by_label(labels: Labels, value_of: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """`value_of(labels)`; of mixed clips the mean of both labels' values by their shares.

    Args:
        labels: of clips.
        value_of: float32 `[batch]` of labels as in batches.
    """
    if not isinstance(labels, MixedLabels):
        return value_of(labels)
    first, second = value_of(labels.first), value_of(labels.second)
    return labels.share * first + (1 - labels.share) * second


def known(labels: Labels) -> tf.Tensor:
    """Whether the class of each clip, mixed or not, is known: bool `[batch]`."""
    return is_labelled(labels.first if isinstance(labels, MixedLabels) else labels)


def _uniform(shape: Any, seed: tf.Tensor) -> tf.Tensor:
    """float32 in [0, 1). TensorFlow's own floats are others where XLA compiles them."""
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg=_ALGORITHM
    )
    return tf.cast(tf.bitwise.right_shift(bits, 9), tf.float32) * 2.0**-23 + 0.5


def _take(values: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    if values.dtype != tf.uint8:
        return tf.gather(values, indices)
    # GPUs have no `tf.gather` of uint8; bfloat16 holds 0..255 exactly.
    return tf.cast(tf.gather(tf.cast(values, tf.bfloat16), indices), tf.uint8)
