"""Less memory for a third more arithmetic: activations are computed again for the gradient.

Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

import tensorflow as tf
import tf_keras

from perfnet_tf.models import synchronization
from perfnet_tf.models.ordering import computed_after


class _State(threading.local):  # replicas of a strategy are traced by a thread each
    enabled = False
    recomputing = False


_state = _State()


@contextlib.contextmanager
def rematerialization(enabled: bool = True) -> Iterator[None]:
    """Inside the block, what `call_block` calls in training keeps its inputs only."""
    before, _state.enabled = _state.enabled, enabled
    try:
        yield
    finally:
        _state.enabled = before


def is_recomputing() -> bool:
    """Whether layers are called for the second time in a step: they must not change variables."""
    return _state.recomputing


def call_block(layer: tf_keras.layers.Layer, inputs: tf.Tensor, *, training: bool) -> tf.Tensor:
    """`layer(inputs, training=training)`, and where gradients find what is inside.

    Args:
        layer: built; of one tensor, one result, and nothing random.
        inputs: float tensor.
        training: whether it trains. Without, or outside of `rematerialization`, this is a plain
            call.

    Returns:
        The layer's result.
    """
    if not (training and _state.enabled):
        return layer(inputs, training=training)
    # The gradient is traced later, outside of the block that says so.
    synchronized = synchronization.is_synchronized()

    @tf.custom_gradient
    def forward(block_inputs: tf.Tensor) -> tuple[tf.Tensor, object]:
        with rematerialization(False):
            outputs = layer(block_inputs, training=True)

        def gradient(
            upstream: tf.Tensor, variables: Sequence[tf.Variable] = ()
        ) -> tuple[tf.Tensor, list[tf.Tensor]]:
            again = computed_after(block_inputs, [upstream])
            with (
                tf.GradientTape() as tape,
                _recomputation(),
                synchronization.synchronized_batch_norm(synchronized),
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


@contextlib.contextmanager
def _recomputation() -> Iterator[None]:
    before = (_state.enabled, _state.recomputing)
    _state.enabled, _state.recomputing = False, True
    try:
        yield
    finally:
        _state.enabled, _state.recomputing = before
