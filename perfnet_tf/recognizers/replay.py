"""Calls a traced network once more, operation by operation, some of them in another form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

#: The operation as it was traced, and its inputs now -> its outputs now.
Substitute = Callable[[tf.Operation, list[Any]], list[tf.Tensor]]


def replay(
    network: Any, inputs: tf.Tensor, substitutes: Mapping[str, Substitute]
) -> list[tf.Tensor]:
    """The outputs of a concrete function of one tensor, for `inputs`.

    Args:
        network: the concrete function. It calls no other function and has no loop.
        inputs: in a function that is being traced, as everything here is.
        substitutes: operation type -> what is called in its place.
    """
    tensors: dict[str, Any] = {network.inputs[0].name: inputs}
    for operation in network.graph.get_operations():
        if operation.type == "Placeholder":  # the input, and variables: `tensors` lacks those
            continue
        taken = [tensors.get(tensor.name) for tensor in operation.inputs]
        if operation.type in substitutes:
            results = substitutes[operation.type](operation, taken)
        else:
            results = copy_operation(operation, taken)
        tensors.update(zip([output.name for output in operation.outputs], results, strict=True))
    return [tensors[output.name] for output in network.outputs]


def copy_operation(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """The outputs of the same operation for other inputs, in the graph that is being traced."""
    attributes = dict(operation.node_def.attr)
    attributes.pop("_class", None)  # what it shares a device with, by its old name
    copy = tf.compat.v1.get_default_graph().create_op(
        operation.type,
        taken,
        dtypes=[output.dtype for output in operation.outputs],
        name=operation.name,
        attrs=attributes,
    )
    result: list[tf.Tensor] = copy.outputs
    return result
