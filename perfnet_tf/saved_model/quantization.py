"""A planar network in 8-bit integers: which values have a scale, and their measured ranges.

TFLite's converter computes an operation in integers where its inputs and its output are marked by
`fake_quant` operations. Its own calibration is not used: it keeps every value of a clip and several
copies of the network in memory, and takes reference kernels.

A convolution with its bias and ReLU is one operation, whose result alone is marked. Operations that
move values (pooling, slices, concatenation) take the scale of what they move. What is left out of
`COMPUTED` stays in float: matrix products, which are small here (gates and the classifier), and
whatever a registered backbone computes besides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.replay import copy_operation, replay

#: Operations whose results have a scale each.
COMPUTED = frozenset({"Conv2D", "BiasAdd", "Relu", "AddV2", "Sub", "Mul", "Mean", "Sigmoid"})
#: What runtimes compute in one operation with the one before it.
FOLLOWERS = {
    "Conv2D": {"BiasAdd", "Relu"},
    "BiasAdd": {"Relu"},
    "AddV2": {"Relu"},
    "Sub": {"Relu"},
    "Mul": {"Relu"},
}
#: Move values, and do not compute any.
MOVING = frozenset({"Reshape", "MaxPool", "Pad", "StridedSlice", "ConcatV2", "Identity"})
#: Known without a measurement; the scale that TFLite has for it.
FIXED = {"Sigmoid": (0.0, 255 / 256)}

Range = tuple[float, float]


@dataclass(frozen=True)
class Values:
    """The values of a network that are 8-bit integers.

    Attributes:
        names: of the operations that compute them, in the network's order.
        scale_of: name -> the name of the first of those that share its scale, because they are
            joined into one.
    """

    names: tuple[str, ...]
    scale_of: Mapping[str, str]


def find_values(network: Any) -> Values:
    """The values of a planar network that get a scale.

    Args:
        network: concrete function of `replay_planar`.
    """
    operations = _needed(network)
    consumers: dict[str, list[tf.Operation]] = {name: [] for name in operations}
    for operation in operations.values():
        for tensor in operation.inputs:
            consumers[tensor.op.name].append(operation)

    def fused(operation: tf.Operation) -> bool:
        after = consumers[operation.name]
        return len(after) == 1 and after[0].type in FOLLOWERS.get(operation.type, ())

    def final(operation: tf.Operation) -> bool:  # of the network's outputs: nothing computes on it
        return all(after.type in MOVING and final(after) for after in consumers[operation.name])

    names = [
        operation.name
        for operation in operations.values()
        if operation.type in COMPUTED
        and operation.outputs[0].dtype == tf.float32  # sizes are computed, too
        and not fused(operation)
        and not final(operation)
    ]
    scale_of = {name: name for name in names}

    def root(name: str) -> str:
        while scale_of[name] != name:
            name = scale_of[name]
        return name

    for operation in operations.values():
        if operation.type == "ConcatV2":
            joined = [root(name) for name in _moved(operation, scale_of)]
            for name in joined:
                scale_of[name] = joined[0]
    return Values(tuple(names), {name: root(name) for name in names})


def measure_ranges(network: Any, values: Values, clips: Iterable[np.ndarray]) -> dict[str, Range]:
    """Lowest and highest of each value over all clips; always with 0, which padding needs.

    Args:
        network: as for `find_values`, in float.
        values: what `find_values` gave.
        clips: float32, of the shape that the network takes.
    """
    seen: dict[str, tf.Tensor] = {}

    def look(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
        outputs = copy_operation(operation, taken)
        if operation.name in values.scale_of:
            seen[operation.name] = tf.stack([tf.reduce_min(outputs[0]), tf.reduce_max(outputs[0])])
        return outputs

    @tf.function(autograph=False, input_signature=[network.structured_input_signature[0][0]])
    def extremes(frames: tf.Tensor) -> tf.Tensor:
        replay(network, frames, dict.fromkeys(COMPUTED, look))
        return tf.stack([seen[name] for name in values.names])

    found = np.stack([extremes(tf.constant(clip)).numpy() for clip in clips])
    low, high = found[..., 0].min(axis=0), found[..., 1].max(axis=0)
    ranges: dict[str, Range] = {}
    for name, least, most in zip(values.names, low, high, strict=True):
        scale = values.scale_of[name]
        before = ranges.get(scale, (0.0, 0.0))
        ranges[scale] = (min(before[0], float(least)), max(before[1], float(most)))
    return {name: ranges[values.scale_of[name]] for name in values.names}


def replay_quantized(
    network: Any, inputs: tf.Tensor, ranges: Mapping[str, Range]
) -> list[tf.Tensor]:
    """Calls a planar network with its values marked, and its kernels, per channel.

    Args:
        network: as for `find_values`.
        inputs: as its own, in a function that is being traced.
        ranges: name of an operation -> lowest and highest of its values; others stay in float.

    Returns:
        Its outputs, rounded as an integer network's are.
    """

    def mark(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
        if operation.type == "Conv2D":
            taken = [taken[0], _marked_kernel(tf.get_static_value(operation.inputs[1]))]
        outputs = copy_operation(operation, taken)
        if operation.name not in ranges:
            return outputs
        low, high = FIXED.get(operation.type, ranges[operation.name])
        high = high if high > low else low + 1e-6  # silent on every clip
        return [tf.quantization.fake_quant_with_min_max_args(outputs[0], low, high)]

    return replay(network, inputs, dict.fromkeys(COMPUTED, mark))


def _marked_kernel(kernel: np.ndarray) -> tf.Tensor:
    most = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), 1e-9)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        kernel, -most, most, narrow_range=True
    )


def _needed(network: Any) -> dict[str, tf.Operation]:
    """The operations that the outputs depend on, in the network's order, by name."""
    waiting = [output.op for output in network.outputs]
    found = set()
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found.add(operation.name)
            waiting += [tensor.op for tensor in operation.inputs]
    return {op.name: op for op in network.graph.get_operations() if op.name in found}


def _moved(operation: tf.Operation, scales: Mapping[str, str]) -> Sequence[str]:
    """The operations that computed what an operation moves."""
    names: list[str] = []
    for tensor in operation.inputs:
        if tensor.op.name in scales:
            names.append(tensor.op.name)
        elif tensor.op.type in MOVING:
            names += _moved(tensor.op, scales)
    return names
