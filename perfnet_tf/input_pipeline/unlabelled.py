"""Clips without labels in batches of clips with labels."""

from __future__ import annotations

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.streams import LABEL

#: The label of a clip whose class is unknown.
UNLABELLED = -1


def add_unlabelled(labelled: tf.data.Dataset, unlabelled: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of both datasets' clips, those of the second after those of the first.

    Args:
        labelled: dicts, as of `build_dataset`.
        unlabelled: dicts of the same streams, clip and number of people; its labels are ignored.

    Returns:
        Dataset of dicts. The label of the second dataset's clips is `UNLABELLED`, everywhere where
        the first has several labels per clip.

    Raises:
        InputError: the datasets hold different things.
    """
    ours, theirs = labelled.element_spec, unlabelled.element_spec
    for key in sorted({*ours, *theirs} - {LABEL}):
        shapes = [tuple(spec[key].shape[1:]) if key in spec else None for spec in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise InputError(
                "Clips with and without labels share a batch, so both have the same streams, sizes "
                f"and people. Received: {key} of shape {shapes[0]} and, without labels, "
                f"{shapes[1]}. Prepare both alike."
            )

    @tf.autograph.experimental.do_not_convert
    def join(one: dict[str, tf.Tensor], other: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        labels = one[LABEL]
        shape = tf.concat([tf.shape(other[LABEL])[:1], tf.shape(labels)[1:]], axis=0)
        other = {**other, LABEL: tf.fill(shape, tf.constant(UNLABELLED, labels.dtype))}
        return {key: tf.concat([one[key], other[key]], axis=0) for key in one}

    options = tf.data.Options()
    # Each dataset has its worker's share already.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    both = tf.data.Dataset.zip((labelled, unlabelled)).map(join)
    return both.with_options(options).prefetch(tf.data.AUTOTUNE)


def is_labelled(labels: tf.Tensor) -> tf.Tensor:
    """Whether the class of a clip is known.

    Args:
        labels: integer `[batch]`, or float `[batch, classes]` of several labels (`label_kinds`).

    Returns:
        bool `[batch]`.
    """
    return (labels if labels.shape.rank == 1 else labels[:, 0]) != UNLABELLED
