"""Runs a TensorFlow.js graph model as it is, held to operations that only compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import json_format

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_model import GraphModel, string_list_attribute

#: The converter fuses bias and activation into convolutions; TensorFlow has no kernels for all of
#: these in every layout, so they are written apart again and grappler fuses what it can.
_FUSED = {
    "_FusedConv2D": "Conv2D",
    "FusedDepthwiseConv2dNative": "DepthwiseConv2dNative",
}
_CONVOLUTION_ATTRIBUTES = ("T", "strides", "padding", "dilations", "data_format")
_ACTIVATIONS = ("Relu", "Relu6", "Elu", "Sigmoid", "Tanh")

#: What a pose network may be made of: functions of their inputs. TensorFlow has operations that
#: read and write files and run Python, and a graph from elsewhere could name those.
_ALLOWED = frozenset(
    """
    Abs Add AddN AddV2 All Any ArgMax ArgMin AvgPool BatchToSpaceND BiasAdd BroadcastTo Cast Ceil
    ClipByValue Concat ConcatV2 Const Conv2D Conv2DBackpropInput Cumsum DepthToSpace
    DepthwiseConv2dNative Div DivNoNan Elu Equal Exp ExpandDims Fill Floor FloorDiv FloorMod
    FusedBatchNorm FusedBatchNormV3 Gather GatherNd GatherV2 Greater GreaterEqual Identity IdentityN
    LeakyRelu Less LessEqual LinSpace Log LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool Maximum
    Mean Min Minimum MirrorPad Mul Neg NoOp NonMaxSuppressionV3 NonMaxSuppressionV4
    NonMaxSuppressionV5 NotEqual OneHot OnesLike Pack Pad PadV2 Placeholder Pow Prelu Prod Range
    Rank RealDiv Reciprocal Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Round
    Rsqrt ScatterNd Select SelectV2 Selu Shape Sigmoid Sign Size Slice Softmax Softplus
    SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StopGradient
    StridedSlice Sub Sum Tanh TensorScatterUpdate Tile TopKV2 Transpose Unpack Where ZerosLike
    """.split()
)


def graph_function(
    graph: GraphModel, feed: str, fetches: Mapping[str, str], shape: list[int | None]
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Makes a function of a graph with one input.

    Args:
        graph: the graph and its weights.
        feed: name of the placeholder.
        fetches: key in the result -> name of a node, whose first output is meant.
        shape: of the placeholder, in place of what the graph says.

    Returns:
        A function from the placeholder's tensor to a dict of results.

    Raises:
        InputError: the graph has a fused activation that is not known here, or an operation that
            is no plain function of its inputs.
    """
    definition = _graph_def(graph, feed, shape)
    _check_operations(graph, definition)

    def run() -> None:
        tf.graph_util.import_graph_def(definition, name="")

    wrapped = tf.compat.v1.wrap_function(run, [])
    tensors = {key: wrapped.graph.get_tensor_by_name(f"{n}:0") for key, n in fetches.items()}
    result: Callable[[tf.Tensor], dict[str, tf.Tensor]] = wrapped.prune(
        wrapped.graph.get_tensor_by_name(f"{feed}:0"), tensors
    )
    return result


def _graph_def(graph: GraphModel, feed: str, shape: list[int | None]) -> tf.compat.v1.GraphDef:
    nodes: list[dict[str, Any]] = []
    for node in graph.topology["node"]:
        if node["op"] in _FUSED:
            nodes += _split(graph, node)
        elif node["op"] == "Placeholder" and node["name"] == feed:
            sizes = [{"size": str(-1 if size is None else size)} for size in shape]
            attributes = node["attr"] | {"shape": {"shape": {"dim": sizes}}}
            nodes.append(dict(node) | {"attr": attributes})
        elif node["op"] != "Const":
            nodes.append(node)
    topology = {"node": nodes, "versions": graph.topology.get("versions", {})}
    if graph.topology.get("library"):
        topology["library"] = graph.topology["library"]
    definition = tf.compat.v1.GraphDef()
    json_format.ParseDict(topology, definition)
    for node in graph.topology["node"]:
        if node["op"] == "Const":  # the graph holds their names only
            constant = definition.node.add(name=node["name"], op="Const")
            value = tf.make_tensor_proto(graph.weights[node["name"]])
            constant.attr["value"].tensor.CopyFrom(value)
            constant.attr["dtype"].type = value.dtype
    return definition


def _check_operations(graph: GraphModel, definition: tf.compat.v1.GraphDef) -> None:
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    strangers = sorted({node.op for node in nodes} - _ALLOWED)
    if strangers:
        raise InputError(
            f"A pose network is made of plain arithmetic. Received: {graph.path} with "
            f"{', '.join(strangers[:3])}. Fetch it from where it is published: "
            "perfnet pose-weights."
        )


def _split(graph: GraphModel, node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Convolution, bias and activation of a fused node; the last one keeps its name."""
    image, kernel, *extra = node["input"]
    attributes = {n: node["attr"][n] for n in _CONVOLUTION_ATTRIBUTES if n in node["attr"]}
    steps = [(_FUSED[node["op"]], [image, kernel], attributes)]
    number = {"T": node["attr"]["T"]}
    for op in string_list_attribute(node, "fused_ops"):
        if op == "BiasAdd":
            steps.append((op, [extra.pop(0)], number))
        elif op in _ACTIVATIONS:
            steps.append((op, [], number))
        else:
            raise InputError(f"{graph.path} has a fused {op}, which is not read here.")
    result: list[dict[str, Any]] = []
    for index, (op, inputs, attr) in enumerate(steps):
        last = index == len(steps) - 1
        name = node["name"] if last else f"{node['name']}/split_{index}"
        before = [result[-1]["name"]] if result else []
        result.append({"name": name, "op": op, "input": before + inputs, "attr": attr})
    return result
