"""How a network begins: a strided convolution of frames, and a max pooling."""

from __future__ import annotations

import functools

import tensorflow as tf
import tf_keras

from perfnet_tf.models.layers import ConvUnit, VideoMaxPool
from perfnet_tf.models.modes import is_building, runs_on_tpu
from perfnet_tf.models.rematerialization import call_block
from perfnet_tf.models.space_to_depth import (
    PAIR,
    Block,
    from_columns,
    is_worth_it,
    max_pool_pairs,
    to_blocks,
)

#: Of frames, on TPUs. Strides of 2 make a pair of columns of it.
_BLOCK: Block = (2, 4)


def convolve_and_pool(
    unit: tf_keras.layers.Layer, pool: VideoMaxPool, inputs: tf.Tensor, *, training: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """`unit`, and `pool` of what it returns.

    On a TPU neighbouring columns of a network's largest features lie side by side between the two
    (see `space_to_depth`).

    Args:
        unit: a `ConvUnit`, or what takes its place.
        pool: what follows it.
        inputs: float `[batch, frames, height, width, channels]`.
        training: whether they train.

    Returns:
        The unit's features and the pooled ones, `[batch, frames, height, width, channels]`.
    """
    if not _fits_blocks(unit, pool, inputs):
        features = call_block(unit, inputs, training=training, name=unit.name)
        return features, pool(features)
    in_blocks = functools.partial(unit, block=_BLOCK)
    frames = to_blocks(inputs, _BLOCK)
    features = call_block(in_blocks, frames, training=training, name=unit.name)
    with tf.name_scope(pool.name):
        pooled = max_pool_pairs(features, pool.pad_symmetrically)
    # Nothing in a training step asks for these features, and the compiler leaves them out.
    return from_columns(features, PAIR), pooled


def _fits_blocks(unit: tf_keras.layers.Layer, pool: VideoMaxPool, inputs: tf.Tensor) -> bool:
    if is_building() or not runs_on_tpu() or not isinstance(unit, ConvUnit) or not unit.built:
        return False
    strides = tuple(unit.conv.strides)
    pools = (tuple(pool.pool_size), tuple(pool.strides)) == ((1, 3, 3), (1, 2, 2))
    return (
        pools and strides[1:] == (2, 2) and is_worth_it(inputs, unit.conv.kernel, strides, _BLOCK)
    )
