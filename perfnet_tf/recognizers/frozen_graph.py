"""Networks frozen for inference: a folded graph, and its weights apart from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.modes import traced_for_any_device
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.replay import replay
from perfnet_tf.streams import FEATURES, LOGITS, STREAMS

#: What a frozen network returns, in this order.
OUTPUTS = (FEATURES, LOGITS)
#: The input of a frozen graph.
INPUT = "inputs"
#: The network's function in an export.
FUNCTION = "frozen"
#: Attribute of an export with the weights, in order.
WEIGHTS = "weights"
#: Bytes from which a constant counts as weights.
_LARGE = 1024
_GRAPH_FILE, _WEIGHTS_FILE = "graph.pb", "weights"


@dataclasses.dataclass(frozen=True)
class FrozenGraph:
    """A folded network in one precision.

    Attributes:
        graph: from the placeholder `inputs`, float32, to operations named by `output_name`. Small:
            what it names by a key of `weights` is not in it.
        weights: name -> value. Biases and other small numbers are constants of the graph.
    """

    graph: tf.compat.v1.GraphDef
    weights: Mapping[str, tf.Tensor]

    @property
    def input_shape(self) -> tf.TensorShape:
        """`[None, None, None, None, channels]`."""
        (shape,) = (node.attr["shape"].shape for node in self.graph.node if node.name == INPUT)
        return tf.TensorShape(shape)

    def call(self, inputs: tf.Tensor, weights: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """`OUTPUTS` of float32 `inputs`, in a function that is being traced.

        Args:
            inputs: clips.
            weights: as the attribute, of this function.
        """
        outputs: list[tf.Tensor] = tf.graph_util.import_graph_def(
            self.graph,
            {f"{INPUT}:0": inputs, **{f"{name}:0": value for name, value in weights.items()}},
            [f"{output_name(name)}:0" for name in OUTPUTS],
            name="",
        )
        return outputs

    def with_constants(self) -> tf.compat.v1.GraphDef:
        """The whole network as one graph, for converters."""
        whole = tf.compat.v1.GraphDef(versions=self.graph.versions)
        for name, value in self.weights.items():
            node = whole.node.add(name=name, op="Const")
            node.attr["dtype"].type = value.dtype.as_datatype_enum
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy()))
        whole.node.extend(self.graph.node)
        return whole

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes it into a local folder that exists."""
        with open(os.path.join(folder, _GRAPH_FILE), "wb") as file:
            file.write(self.graph.SerializeToString())
        names = [*self.weights] or ["none"]  # SaveV2 needs one
        tf.raw_ops.SaveV2(
            prefix=os.path.join(folder, _WEIGHTS_FILE),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=[*self.weights.values()] or [tf.zeros([1])],
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> FrozenGraph:
        """Reads what `save` wrote.

        Raises:
            OSError, DecodeError, tf.errors.OpError: damaged, or not there.
        """
        with open(os.path.join(folder, _GRAPH_FILE), "rb") as file:
            graph = tf.compat.v1.GraphDef.FromString(file.read())
        prefix = os.path.join(folder, _WEIGHTS_FILE)
        dtypes = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
        names = sorted(
            (name for name in dtypes if name != "none"), key=lambda name: (len(name), name)
        )
        values = _restore(prefix, names, [dtypes[name] for name in names])
        return cls(graph, dict(zip(names, values, strict=True)))


def frozen_graph(model: VideoModel, precision: str) -> FrozenGraph:
    """Folds and freezes a built model, which is not changed.

    Args:
        model: to freeze.
        precision: `float32` or `bfloat16`; inputs and outputs are float32 in either.
    """
    return freeze(fold_batch_norm(model, precision=precision))


def freeze(model: VideoModel) -> FrozenGraph:
    """The graph from clips to pooled features and logits of a built model, in inference mode.

    It runs on other devices than this one, too.
    """

    @tf.function(autograph=False)
    def network(inputs: tf.Tensor) -> list[tf.Tensor]:
        named = model.endpoints(inputs, training=False)
        return [named[name] for name in OUTPUTS]

    spec = input_specs(model.stream)[0]
    with traced_for_any_device():
        traced = network.get_concrete_function(spec)
    variables = {id(variable.handle): variable for variable in model.variables}
    values = {
        inner.name: tf.identity(variables[id(outer)]) for outer, inner in traced.graph.captures
    }
    weights: dict[str, tf.Tensor] = {}
    placeholders: dict[str, tf.Tensor] = {}  # by the name of the handle

    def read(operation: tf.Operation, _: list[Any]) -> list[tf.Tensor]:
        handle = operation.inputs[0].name
        value = values[handle]
        # Biases stay constants: some converters join only those to a convolution.
        if value.shape.rank < 2 or value.shape.num_elements() * value.dtype.size < _LARGE:
            return [tf.constant(value.numpy(), name=operation.name)]
        if handle not in placeholders:
            name = f"weight_{len(weights)}"
            weights[name] = value
            placeholders[handle] = tf.compat.v1.placeholder(value.dtype, value.shape, name)
        return [placeholders[handle]]

    with tf.Graph().as_default() as graph:
        inputs = tf.compat.v1.placeholder(spec.dtype, spec.shape, INPUT)
        outputs = replay(traced, inputs, {"ReadVariableOp": read})
        for name, output in zip(OUTPUTS, outputs, strict=True):
            tf.identity(output, name=output_name(name))
    return FrozenGraph(_without(graph.as_graph_def(), weights), weights)


def exported_graph(folder: str | os.PathLike[str]) -> FrozenGraph:
    """The network in a SavedModel of an `InferenceModule`.

    Raises:
        OSError, tf.errors.OpError: no file, no right to read it, or damaged.
        ValueError: damaged, or another kind of SavedModel.
    """
    saved = SavedModel()
    try:
        with tf.io.gfile.GFile(os.path.join(folder, "saved_model.pb"), "rb") as file:
            saved.ParseFromString(file.read())
    except DecodeError as error:
        raise ValueError(f"{folder} holds no SavedModel: {error}") from error
    functions = [
        function
        for meta_graph in saved.meta_graphs
        for function in meta_graph.graph_def.library.function
        if function.signature.name.startswith(f"__inference_{FUNCTION}_")
    ]
    if len(functions) != 1:
        raise ValueError(f"{folder} holds {len(functions)} frozen networks. Expected 1.")
    graph, flat_names = function_def_to_graph_def(functions[0])
    if not any(node.name == output_name(LOGITS) for node in graph.node):
        # Exports of earlier versions do not name them.
        for name, returned in zip(OUTPUTS, functions[0].signature.output_arg, strict=True):
            node = graph.node.add(name=output_name(name), op="Identity")
            node.input.append(flat_names[functions[0].ret[returned.name]])
            node.attr["T"].type = returned.type
    reads = [node for node in graph.node if node.op == "ReadVariableOp"]
    if not reads:
        return with_weights_apart(graph)
    names = [node.name for node in reads]
    values = _restore(
        os.path.join(folder, "variables", "variables"),
        [f"{WEIGHTS}/{name.split('_')[-1]}/.ATTRIBUTES/VARIABLE_VALUE" for name in names],
        [tf.as_dtype(node.attr["dtype"].type) for node in reads],
    )
    handles = {node.input[0] for node in reads}
    return FrozenGraph(_without(graph, {*names, *handles}), dict(zip(names, values, strict=True)))


def input_specs(stream: str) -> list[tf.TensorSpec]:
    """What a model of `stream` takes: float32 first, and uint8 where the stream is pictures."""
    shape = [None, None, None, None, STREAMS[stream].channels]
    dtypes = STREAMS[stream].dtypes
    return [tf.TensorSpec(shape, tf.as_dtype(dtype), name=INPUT) for dtype in dtypes]


def output_name(name: str) -> str:
    """The operation that gives one of `OUTPUTS` in a frozen graph."""
    return f"frozen_{name}"


def with_weights_apart(graph: tf.compat.v1.GraphDef) -> FrozenGraph:
    """A network of a graph whose weights are constants, as exports of earlier versions hold."""
    graph = _without(graph, ())
    weights = {
        node.name: tf.constant(tf.make_ndarray(node.attr["value"].tensor))
        for node in graph.node
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= _LARGE
    }
    return FrozenGraph(_without(graph, weights), weights)


def _without(graph: tf.compat.v1.GraphDef, names: Any) -> tf.compat.v1.GraphDef:
    """A copy of what the outputs depend on, without the nodes of these names."""
    inputs = {node.name: [_operation(name) for name in node.input] for node in graph.node}
    waiting = [output_name(name) for name in OUTPUTS]
    needed = set(waiting)
    while waiting:
        new = {name for name in inputs.get(waiting.pop(), ()) if name not in needed}
        needed |= new
        waiting.extend(new)
    result = tf.compat.v1.GraphDef(versions=graph.versions)
    result.node.extend(
        node for node in graph.node if node.name in needed and node.name not in names
    )
    return result


def _operation(tensor: str) -> str:
    """The operation of a tensor in a graph definition, or of a control input."""
    return tensor.lstrip("^").split(":")[0]


def _restore(prefix: str, names: Sequence[str], dtypes: Sequence[tf.DType]) -> list[tf.Tensor]:
    """Tensors of a checkpoint, read straight into the memory that they stay in."""
    if not names:
        return []
    values: list[tf.Tensor] = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names), dtypes=dtypes
    )
    return values
