"""Rewrites ONNX graphs, without changing what they compute, into what more runtimes read."""

from __future__ import annotations

from typing import Any

import numpy as np


def make_portable(graph: Any) -> None:
    """Applies every rewrite of this module to a graph of tf2onnx, which is changed."""
    write_pads(graph)
    split_means(graph)
    widen_integers(graph)


def write_pads(graph: Any) -> None:
    """Gives convolutions and poolings the padding of TensorFlow's `SAME` without `auto_pad`.

    onnx2torch refuses `auto_pad` with a stride, and OpenCV 5.0 takes `SAME_UPPER` for `SAME_LOWER`.
    Padding is in numbers where it does not depend on the size of the input. Where a stride makes it
    depend on the size, which the file leaves open, operations before the node compute it and a
    `Pad` applies it.
    """
    from onnx import helper

    nodes = []
    for node in graph.node:
        values = {
            attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        if values.get("auto_pad") == b"SAME_UPPER":
            strides = values["strides"]
            dilations = values.get("dilations", [1] * len(strides))
            kernel = [
                (size - 1) * dilation + 1
                for size, dilation in zip(values["kernel_shape"], dilations, strict=True)
            ]
            kept = [attribute for attribute in node.attribute if attribute.name != "auto_pad"]
            del node.attribute[:]
            node.attribute.extend(kept)
            if any(size > 1 and stride > 1 for size, stride in zip(kernel, strides, strict=True)):
                nodes += _pad_by_size(graph, node, kernel, strides)
            else:
                before = [(size - 1) // 2 for size in kernel]
                after = [size // 2 for size in kernel]
                node.attribute.append(helper.make_attribute("pads", before + after))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _pad_by_size(graph: Any, node: Any, kernel: list[int], strides: list[int]) -> list[Any]:
    """The operations that pad the first input of `node`, which from then on reads the result."""
    from onnx import helper, numpy_helper

    steps: list[Any] = []

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{prefix}/{name}"))
        return f"{prefix}/{name}"

    def step(operation: str, name: str, *inputs: str, **attributes: Any) -> str:
        output = f"{prefix}/{name}"
        steps.append(helper.make_node(operation, inputs, [output], output, **attributes))
        return output

    prefix, video, axes = f"{node.output[0]}/padding", node.input[0], len(kernel)
    # total = max(kernel - 1 - (size - 1) % stride, 0), the smaller half in front
    sizes = step("Shape", "sizes", video, start=2)
    last = step("Sub", "last", sizes, constant("one", [1] * axes))
    rest = step("Mod", "rest", last, constant("strides", strides))
    wanted = step("Sub", "wanted", constant("reach", [size - 1 for size in kernel]), rest)
    total = step("Max", "total", wanted, constant("zero", [0] * axes))
    before = step("Div", "before", total, constant("two", [2] * axes))
    after = step("Sub", "after", total, before)
    none = constant("none", [0, 0])
    pads = step("Concat", "pads", none, before, none, after, axis=0)
    lowest = np.finfo(np.float32).min if node.op_type == "MaxPool" else 0
    fill = constant("fill", np.float32(lowest))
    node.input[0] = step("Pad", "padded", video, pads, fill)
    return steps


def split_means(graph: Any) -> None:
    """Means over more than two axes become means over the last two, then over the others.

    OpenCV 4.13 and 5.0 give wrong means over three axes of a video, without an error.
    """
    from onnx import helper

    nodes = []
    for node in graph.node:
        values = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        axes = sorted(values.get("axes", ()))
        if node.op_type == "ReduceMean" and len(axes) > 2 and axes[0] >= 0:
            keepdims = values.get("keepdims", 1)
            partly = f"{node.output[0]}/partly"
            last = {"axes": axes[-2:], "keepdims": keepdims}
            nodes.append(helper.make_node("ReduceMean", [node.input[0]], [partly], partly, **last))
            first = {"axes": axes[:-2], "keepdims": keepdims}
            node = helper.make_node("ReduceMean", [partly], node.output, node.name, **first)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def widen_integers(graph: Any) -> None:
    """Makes 32-bit integers 64-bit ones, which sizes and places are in ONNX.

    TensorFlow's sizes are 32-bit integers, and arithmetic on those is not in every runtime: OpenCV
    5.0 lacks it.
    """
    from onnx import TensorProto, numpy_helper

    for constant in graph.initializer:
        if constant.data_type == TensorProto.INT32:
            wide = numpy_helper.to_array(constant).astype(np.int64)
            constant.CopyFrom(numpy_helper.from_array(wide, constant.name))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.INT32:
                attribute.i = TensorProto.INT64
