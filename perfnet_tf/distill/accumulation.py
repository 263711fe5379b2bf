"""Gradient accumulation: one step of a large batch in the memory of a small one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.ordering import computed_after
from perfnet_tf.models.video_shapes import sizes_of


class Share(NamedTuple):
    """What some of a step's clips add to it.

    Attributes:
        gradients: of each trained variable; None where the loss does not depend on it.
        terms: name -> float32 scalar, the part of the loss and of its terms.
        logits: float32 `[clips, classes]`, the student's.
    """

    gradients: Sequence[tf.Tensor | None]
    terms: Mapping[str, tf.Tensor]
    logits: tf.Tensor


def accumulate(
    share_of: Callable[[tf.Tensor], Share],
    parts: int,
    variables: Sequence[tf.Variable],
    terms: Iterable[str],
    *,
    unrolled: bool = False,
) -> Share:
    """The sum of the shares of a step's micro-batches, computed one after the other.

    Gradients are summed in float32. The graph holds one micro-batch's operations, in a loop, so
    that it does not grow with their number.

    Args:
        share_of: the share of micro-batch number `part`, an int32 scalar. Called once to trace it,
            or once for each part if `unrolled`.
        parts: number of micro-batches, all of one size.
        variables: those of the gradients.
        terms: names of the shares' terms.
        unrolled: no loop. Replicas of one process cannot meet inside of a loop, as synchronised
            batch norm has them do.

    Returns:
        The whole: `logits` in the order of the batch that `micro_batch` cuts.
    """
    unconnected: set[int] = set()

    def add(part: tf.Tensor, gradients: Any, sums: Any, logits: tf.TensorArray) -> tuple[Any, ...]:
        share = share_of(part)
        unconnected.update(i for i, value in enumerate(share.gradients) if value is None)
        summed = [
            total if value is None else total + tf.cast(tf.convert_to_tensor(value), tf.float32)
            for total, value in zip(gradients, share.gradients, strict=True)
        ]
        sums = {name: total + share.terms[name] for name, total in sums.items()}
        return part + 1, summed, sums, logits.write(part, share.logits)

    state: tuple[Any, ...] = (
        tf.constant(0),
        [tf.zeros(variable.shape, tf.float32) for variable in variables],
        {name: tf.constant(0.0) for name in terms},
        tf.TensorArray(tf.float32, parts),
    )
    if unrolled:
        for part in range(parts):
            # Else an executor would keep the activations of several parts at once. A gradient that
            # is not a number makes the sum anything, but no index out of range.
            after = tf.minimum(computed_after(tf.constant(part), state[1]), parts - 1)
            state = add(after, *state[1:])
    else:
        state = tf.while_loop(
            lambda part, *_: part < parts,
            add,
            state,
            parallel_iterations=1,
            maximum_iterations=parts,
        )
    _, gradients, sums, logits = state
    return Share(
        [None if i in unconnected else value for i, value in enumerate(gradients)],
        sums,
        _interleave(logits.stack()),
    )


def micro_batch(values: tf.Tensor, part: tf.Tensor, parts: int) -> tf.Tensor:
    """Elements `part`, `part + parts`, `part + 2 * parts`, ... of a batch.

    So every micro-batch has its share of what a batch holds one after the other: clips with and
    without labels. It is the same clips whether one device cuts a batch or several cut theirs.

    Args:
        values: `[batch, ...]`, any type.
        part: int32 scalar in `[0, parts)`.
        parts: number of micro-batches; it divides the batch.

    Raises:
        InputError: it does not.
    """
    batch, *sizes = sizes_of(values)
    if isinstance(batch, int) and batch % parts:
        raise InputError(
            "Micro-batches are of one size. Received: a batch of "
            f"{batch} clips on a device, for `accumulate`={parts}. Take a batch that it divides."
        )
    grouped = tf.reshape(values, [batch // parts, parts, *sizes])
    # GPUs have no `tf.gather` of uint8.
    return grouped[:, part]


def _interleave(stacked: tf.Tensor) -> tf.Tensor:
    """`[parts, clips, classes]` of micro-batches as `[batch, classes]` in the batch's order."""
    parts, clips, classes = sizes_of(stacked)
    return tf.reshape(tf.transpose(stacked, [1, 0, 2]), [parts * clips, classes])
