"""Less memory for a third more arithmetic: activations are computed again for the gradient.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from perfnet_tf.models import modes
from perfnet_tf.models.ordering import computed_after


def call_block(
    layer: Callable[..., tf.Tensor], inputs: tf.Tensor, *, training: bool, name: str
) -> tf.Tensor:
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
    if training and (observer := modes.block_observer()):
        before = len(tf.compat.v1.get_default_graph().get_operations())
        outputs = layer(inputs, training=training)
        observer(name, inputs, outputs, before)
        return outputs
    if not (training and modes.is_rematerializing(name)):
        return layer(inputs, training=training)
    # The gradient is traced later, outside of the block that says so.
    synchronized = modes.is_synchronized()

    @tf.custom_gradient
    def forward(block_inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
        with modes.rematerialization(False):
            outputs = layer(block_inputs, training=True)

        def gradient(
            upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()
        ) -> tuple[tf.Tensor, list[tf.Tensor]]:
            again = computed_after(block_inputs, [upstream])
            with (
                tf.GradientTape() as tape,
                modes.recomputation(),
                modes.synchronized_batch_norm(synchronized),
            ):
                tape.watch(again)
                recomputed = layer(again, training=True)
            gradients = tape.gradient(
                recomputed,
                [again, *variables],
                output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
            return gradients[0], gradients[1:]

        return outputs, gradient

    return forward(inputs)
