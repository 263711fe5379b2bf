"""Less memory for more arithmetic: activations are computed again for the gradient.

Sources: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174), for
whole blocks; for choosing what costs little to compute again, Korthikanti et al. 2022, "Reducing
Activation Recomputation in Large Transformer Models" (arXiv:2205.05198).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from perfnet_tf.models import modes
from perfnet_tf.models.ordering import computed_after, executed_after

#: From tensors to one, and nothing random.
TensorFunction: TypeAlias = Callable[..., tf.Tensor]

#: What an `ObservedCall` is of.
BLOCK, PART, BETWEEN_CONVOLUTIONS = "block", "part", "between convolutions"


class ObservedCall(NamedTuple):
    """A call in training, as `modes.observed_blocks` hears of it when it has ended.

    Attributes:
        kind: `BLOCK`, `PART` of a block, or `BETWEEN_CONVOLUTIONS`.
        name: by which it is computed again; empty for the last kind, which always is.
        inputs: its input.
        outputs: its result.
        operations: what it added to the graph.
    """

    kind: str
    name: str
    inputs: tf.Tensor
    outputs: tf.Tensor
    operations: range


def call_block(layer: TensorFunction, inputs: tf.Tensor, *, training: bool, name: str) -> tf.Tensor:
    """`layer(inputs, training=training)`, and where gradients find what is inside.

    Args:
        layer: a built layer, or a call of one; of one tensor, one result, and nothing random.
        inputs: float tensor.
        training: whether it trains. Without, or outside of `modes.rematerialization`, this is a
            plain call.
        name: of the block in its network.

    Returns:
        The layer's result.
    """
    if not training:
        return layer(inputs, training=training)
    with modes.within_block(name):
        return _call(functools.partial(layer, training=True), inputs, BLOCK, name)


def call_part(function: TensorFunction, inputs: tf.Tensor, *, name: str) -> tf.Tensor:
    """As `call_block`, of a part of the present block in training.

    Args:
        function: of built layers, that costs little to compute again.
        inputs: float tensor.
        name: of the part in its block: it is computed again by the name `BLOCK/PART`.
    """
    return _call(function, inputs, PART, _name_of_part(name))


def is_cut_at_convolutions(*parts: str) -> bool:
    """Whether a block in training must call its parts of these names, and `from_convolution`.

    Else it would be the same, and is free to call its layers as they are.
    """
    if modes.is_building():
        return False
    wanted = any(modes.is_rematerializing(_name_of_part(part)) for part in parts)
    return wanted or modes.block_observer() is not None or _keeps_convolutions_alone()


def _name_of_part(part: str) -> str:
    return f"{modes.current_block()}/{part}"


def from_convolution(function: TensorFunction, convolved: tf.Tensor) -> tf.Tensor:
    """`function(convolved)` in training: what lies from one convolution to the next, and that.

    Of its inside nothing is kept. Its normalisation and rectification are computed again for the
    gradient, its convolution is not: nobody asks for the result. XLA, which computes the former
    within what reads them, does the same by itself.

    Args:
        function: of built layers; it ends in the convolution.
        convolved: float tensor, the result of a convolution.
    """
    if observer := modes.block_observer():
        return _observed(observer, function, convolved, BETWEEN_CONVOLUTIONS, "")
    if not _keeps_convolutions_alone():
        return function(convolved)
    return computed_again(function, convolved, order=executed_after)


def _keeps_convolutions_alone() -> bool:
    """Without XLA and in graphs, which leave out what nobody asks for; not twice in a step.

    Replicas that take moments together would have to meet once more.
    """
    return not (
        modes.is_keeping_all()
        or modes.compiles_by_xla()
        or modes.is_synchronized()
        or tf.executing_eagerly()
    )


def computed_again(
    function: TensorFunction,
    *inputs: tf.Tensor,
    order: Callable[[tf.Tensor, Sequence[tf.Tensor]], tf.Tensor] = computed_after,
) -> tf.Tensor:
    """`function(*inputs)` in training, which keeps the inputs alone for its gradient.

    Args:
        function: of these tensors, and variables; nothing random.
        *inputs: float tensors.
        order: of `ordering`: gives the inputs to the second computation, after the gradient.
    """
    # The gradient is traced later, outside of the block that says so.
    synchronized = modes.is_synchronized()

    @tf.custom_gradient
    def forward(*inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
        with modes.keeping_all():
            outputs = function(*inputs)

        def gradient(upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()) -> Any:
            again = [order(value, [upstream]) for value in inputs]
            with (
                tf.GradientTape() as tape,
                modes.recomputation(),
                modes.synchronized_batch_norm(synchronized),
            ):
                tape.watch(again)
                recomputed = function(*again)
            gradients = tape.gradient(
                recomputed,
                [*again, *variables],
                output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            of_inputs, of_variables = gradients[: len(again)], gradients[len(again) :]
            return (of_inputs, of_variables) if variables else of_inputs

        return outputs, gradient

    return forward(*inputs)


def _call(function: TensorFunction, inputs: tf.Tensor, kind: str, name: str) -> tf.Tensor:
    if observer := modes.block_observer():
        return _observed(observer, function, inputs, kind, name)
    return computed_again(function, inputs) if modes.is_rematerializing(name) else function(inputs)


def _observed(
    observer: Callable[[ObservedCall], None],
    function: TensorFunction,
    inputs: tf.Tensor,
    kind: str,
    name: str,
) -> tf.Tensor:
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    outputs = function(inputs)
    operations = range(before, len(graph.get_operations()))
    observer(ObservedCall(kind, name, inputs, outputs, operations))
    return outputs
