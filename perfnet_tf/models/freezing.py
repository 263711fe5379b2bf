"""Which layers of a network are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import FEATURES, LOGITS, STREAM_CHANNELS

BATCH_NORM, STEM, ALL_BUT_HEAD = "batch_norm", "stem", "all_but_head"


def find_frozen_layers(model: VideoModel, names: Sequence[str]) -> tuple[int, ...]:
    """Which layers `names` freeze, for `freeze_layers` on this network or one like it.

    Args:
        model: built outside of distribution strategies, no layer of it frozen.
        names: `batch_norm`: every batch norm; `stem`: the first endpoint and what it is computed
            from; `all_but_head`: everything but the classifier; the name of an endpoint that is a
            feature map: everything that it is computed from.

    Returns:
        Indices of layers.

    Raises:
        InputError: a name that is none of these, or weights that belong to no layer inside of the
            network.
    """
    layers = _layers(model)
    endpoints: dict[str, set[int]] = {}
    if not set(names) <= {BATCH_NORM, ALL_BUT_HEAD}:
        endpoints = _variables_of_endpoints(model)
        for name in names:
            check_choice("`freeze`", name, (BATCH_NORM, STEM, ALL_BUT_HEAD, *endpoints))
    frozen: set[int] = set()
    for name in names:
        if name == ALL_BUT_HEAD:
            head = _ids(model.classifier.trainable_variables)
            frozen |= _ids(model.trainable_variables) - head
        elif name == STEM:
            frozen |= next(iter(endpoints.values()))
        elif name != BATCH_NORM:
            frozen |= endpoints[name]
    found = []
    for index, layer in enumerate(layers):
        trained = _ids(layer.trainable_variables)
        is_norm = isinstance(layer, tf_keras.layers.BatchNormalization)
        if (is_norm and BATCH_NORM in names) or (trained and trained <= frozen):
            found.append(index)
    covered = {key for index in found for key in _ids(layers[index].trainable_variables)}
    if frozen - covered:
        raise InputError(
            "Only weights of layers can be frozen. Received: weights that the network "
            f"{type(model).__name__} holds itself. Move them into a layer, or do not freeze them."
        )
    return tuple(found)


def freeze_layers(model: VideoModel, indices: Sequence[int]) -> None:
    """Freezes layers of `find_frozen_layers`: not trained, not decayed, batch norm as it is."""
    layers = _layers(model)
    for index in indices:
        layers[index].trainable = False
        # Keras counts the decay of frozen kernels in the loss.
        layers[index]._callable_losses.clear()


def _layers(model: VideoModel) -> list[tf_keras.layers.Layer]:
    """All layers with weights inside of the network, in an order that its class decides."""
    parts: Sequence[Any] = model.submodules
    return [part for part in parts if isinstance(part, tf_keras.layers.Layer) and part.weights]


def _ids(variables: Sequence[tf.Variable]) -> set[int]:
    return {id(variable) for variable in variables}


def _variables_of_endpoints(model: VideoModel) -> dict[str, set[int]]:
    """Feature map -> ids of the trainable variables that it is computed from, in order."""
    found: dict[str, tf.Tensor] = {}

    def trace(inputs: tf.Tensor) -> None:
        found.update(model.endpoints(inputs, training=False))

    shape = [None, None, None, None, STREAM_CHANNELS[model.stream]]
    graph = (
        tf.function(trace, autograph=False)
        .get_concrete_function(tf.TensorSpec(shape, tf.float32))
        .graph
    )
    ids = {id(variable.handle): id(variable) for variable in model.trainable_variables}
    holders = {
        placeholder.op.name: ids[id(handle)]
        for handle, placeholder in graph.captures
        if id(handle) in ids
    }
    used: dict[str, set[int]] = {}  # operation -> variables, in an order in which inputs are first
    for operation in graph.get_operations():
        used[operation.name] = {holders[operation.name]} if operation.name in holders else set()
        used[operation.name].update(*(used[source.op.name] for source in operation.inputs))
    return {
        name: used[tensor.op.name]
        for name, tensor in found.items()
        if name not in (FEATURES, LOGITS)
    }
