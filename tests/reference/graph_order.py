"""What operations of a graph wait for."""

from __future__ import annotations

import tensorflow as tf


def operations_behind(tensors, *, control=True):
    """The operations that have to be executed for some tensors; without `control` by data alone."""
    found, waiting = set(), [tensor.op for tensor in tensors]
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [tensor.op for tensor in operation.inputs]
            waiting += operation.control_inputs if control else []
    return found


def readers(tensor, views=("Identity", "IdentityN", "Reshape")):
    """The operations that read a tensor, or a view of it."""
    found = set()
    for operation in tensor.consumers():
        if operation.type in views:
            found |= {reader for output in operation.outputs for reader in readers(output, views)}
        else:
            found.add(operation)
    return found


def ready_at_once(graph):
    """The operations that wait for variables and constants alone, and for no other argument."""
    ready = set()
    for operation in graph.get_operations():  # in an order in which sources come first
        sources = [tensor.op for tensor in operation.inputs] + operation.control_inputs
        argument = operation.type == "Placeholder" and operation.outputs[0].dtype != tf.resource
        if not argument and all(source in ready for source in sources):
            ready.add(operation)
    return ready
