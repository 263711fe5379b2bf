"""Networks frozen for inference: folded, their weights constants of the graph."""

from __future__ import annotations

import functools
import os
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph_def

from perfnet_tf.errors import InputError
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.replay import replay
from perfnet_tf.streams import FEATURES, LOGITS, STREAMS

#: What a frozen network returns, in this order.
OUTPUTS = (FEATURES, LOGITS)
#: The input of a frozen graph.
INPUT = "inputs"
#: The network's function in an export.
_FUNCTION = "frozen"
#: Bytes from which a constant counts as weights.
_LARGE = 1024


class FrozenNetwork:
    """A frozen network to classify with in this process; its weights are in memory once.

    The interface is that of `InferenceModule`. Weights are arguments of the graph here: as
    constants of it, TensorFlow copies them with every step between reading and running it. Then a
    call of one small clip is up to a tenth faster, but the first one takes seconds longer.
    """

    def __init__(self, graph: tf.compat.v1.GraphDef) -> None:
        """Takes what `frozen_graph` or `exported_graph` gave."""
        self._graph, self._weights = _take_weights(graph)
        self._traced = functools.cache(self._trace)

    @classmethod
    def from_model(cls, model: VideoModel, *, precision: str = "float32") -> FrozenNetwork:
        """Folds and freezes a built model; arguments of `InferenceModule`."""
        return cls(frozen_graph(model, precision))

    def __call__(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits; arguments and errors of `InferenceModule`."""
        return self._named(inputs, training)[LOGITS]

    def features(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Pooled features; arguments and errors of `InferenceModule`."""
        return self._named(inputs, training)[FEATURES]

    def _named(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        refuse_training(training)
        inputs = tf.convert_to_tensor(inputs)
        return dict(zip(OUTPUTS, self._traced(inputs.dtype)(inputs), strict=True))

    def _trace(self, dtype: tf.DType) -> Any:
        (shape,) = (node.attr["shape"].shape for node in self._graph.node if node.name == INPUT)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, dtype, name=INPUT)])
        def network(inputs: tf.Tensor) -> list[tf.Tensor]:
            weights = {f"{name}:0": tf.identity(value) for name, value in self._weights.items()}
            outputs: list[tf.Tensor] = tf.graph_util.import_graph_def(
                self._graph,
                {f"{INPUT}:0": as_float(inputs), **weights},
                [f"{output_name(name)}:0" for name in OUTPUTS],
                name="",
            )
            return outputs

        return network.get_concrete_function()


def frozen_graph(model: VideoModel, precision: str) -> tf.compat.v1.GraphDef:
    """The graph of a built model, folded, its weights constants; arguments of `InferenceModule`."""
    folded = fold_batch_norm(model, precision=precision)
    return freeze(folded, input_specs(model.stream)[0]).graph.as_graph_def()


def frozen_function(graph: tf.compat.v1.GraphDef) -> Any:
    """What `freeze` gave, again, of the graph that `frozen_graph` made of it."""
    (shape,) = (node.attr["shape"].shape for node in graph.node if node.name == INPUT)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, tf.float32, name=INPUT)])
    def frozen(inputs: tf.Tensor) -> list[tf.Tensor]:
        wanted = [f"{output_name(name)}:0" for name in OUTPUTS]
        outputs: list[tf.Tensor] = tf.graph_util.import_graph_def(
            graph, {f"{INPUT}:0": inputs}, wanted, name=""
        )
        return outputs

    return frozen.get_concrete_function()


def exported_graph(folder: str | os.PathLike[str]) -> tf.compat.v1.GraphDef:
    """The graph of the network in a SavedModel of an `InferenceModule`.

    Raises:
        OSError: no file, or no right to read it.
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
        if function.signature.name.startswith(f"__inference_{_FUNCTION}_")
    ]
    if len(functions) != 1:
        raise ValueError(f"{folder} holds {len(functions)} frozen networks. Expected 1.")
    graph, flat_names = function_def_to_graph_def(functions[0])
    if any(node.name == output_name(LOGITS) for node in graph.node):
        return graph
    # Exports of earlier versions do not name them.
    for name, returned in zip(OUTPUTS, functions[0].signature.output_arg, strict=True):
        node = graph.node.add(name=output_name(name), op="Identity")
        node.input.append(flat_names[functions[0].ret[returned.name]])
        node.attr["T"].type = returned.type
    return graph


def _take_weights(
    graph: tf.compat.v1.GraphDef,
) -> tuple[tf.compat.v1.GraphDef, dict[str, tf.Tensor]]:
    """The graph with placeholders for its large constants, and these by name."""
    light = tf.compat.v1.GraphDef(versions=graph.versions)
    weights = {}
    for node in graph.node:
        if node.op == "Const" and len(node.attr["value"].tensor.tensor_content) >= _LARGE:
            weights[node.name] = tf.constant(tf.make_ndarray(node.attr["value"].tensor))
            placeholder = light.node.add(name=node.name, op="Placeholder")
            placeholder.attr["dtype"].CopyFrom(node.attr["dtype"])
            placeholder.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
        else:
            light.node.append(node)
    return light, weights


class InferenceModule(tf.Module):
    """The interface of an export less what trains: no variables, no decay, no `endpoints`.

    `__call__(inputs)` gives logits float32 `[batch, classes]` and `features(inputs)` what was
    pooled, float32 `[batch, channels]`, of clips of any number, length and size. Batch norm is
    folded (`fold_batch_norm`) and every weight is a constant, so that oneDNN lays it out once.
    """

    # Properties of tf.Module, which are not saved; lists are.
    variables: Any = ()
    trainable_variables: Any = ()

    def __init__(self, model: VideoModel, *, precision: str = "float32") -> None:
        """Folds and traces a built model, which is not changed.

        Args:
            model: to freeze.
            precision: `float32` or `bfloat16`; inputs and outputs are float32 in either.
        """
        super().__init__(name="recognizer")
        # Empty, for `hub.KerasLayer` to find.
        self.variables: list[Any] = []
        self.trainable_variables: list[Any] = []
        self.regularization_losses: list[Any] = []
        specs = input_specs(model.stream)
        self._network = freeze(fold_batch_norm(model, precision=precision), specs[0])
        for spec in specs:
            self.__call__.get_concrete_function(spec)
            self.features.get_concrete_function(spec)

    def named(self, inputs: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """`features` and `logits` of float32 `inputs`."""
        refuse_training(training)
        return dict(zip(OUTPUTS, self._network(inputs), strict=True))

    @tf.function(autograph=False)
    def __call__(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits, for `inputs` as the package says; `training` can be False only."""
        return self.named(as_float(inputs), training)[LOGITS]

    @tf.function(autograph=False)
    def features(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Pooled features, for `inputs` as the package says."""
        return self.named(as_float(inputs), training)[FEATURES]


def freeze(model: VideoModel, spec: tf.TensorSpec) -> Any:
    """A concrete function from `spec` to pooled features and logits, its weights constants.

    Its graph has the placeholder `inputs`, and outputs that `FrozenNetwork` finds by name.
    """

    @tf.function(autograph=False)
    def network(inputs: tf.Tensor) -> list[tf.Tensor]:
        named = model.endpoints(inputs, training=False)
        return [named[name] for name in OUTPUTS]

    traced = network.get_concrete_function(spec)
    of_handle = {id(variable.handle): variable for variable in model.variables}
    values = {inner.name: of_handle[id(outer)].numpy() for outer, inner in traced.graph.captures}

    def read(operation: tf.Operation, _: list[Any]) -> list[tf.Tensor]:
        return [tf.constant(values[operation.inputs[0].name], name=operation.name)]

    @tf.function(autograph=False, input_signature=[spec])
    def frozen(inputs: tf.Tensor) -> list[tf.Tensor]:
        outputs = replay(traced, inputs, {"ReadVariableOp": read})
        return [
            tf.identity(output, name=output_name(name))
            for name, output in zip(OUTPUTS, outputs, strict=True)
        ]

    return frozen.get_concrete_function()


def input_specs(stream: str) -> list[tf.TensorSpec]:
    """What a model of `stream` takes: float32 first, and uint8 where the stream is pictures."""
    shape = [None, None, None, None, STREAMS[stream].channels]
    dtypes = STREAMS[stream].dtypes
    return [tf.TensorSpec(shape, tf.as_dtype(dtype), name=INPUT) for dtype in dtypes]


def as_float(inputs: tf.Tensor) -> tf.Tensor:
    """Pictures of uint8 as float32 in [0, 1]; float32 as it is."""
    return tf.cast(inputs, tf.float32) / 255.0 if inputs.dtype == tf.uint8 else inputs


def refuse_training(training: bool) -> None:
    """Raises `InputError` if `training`."""
    if training:
        raise InputError(
            "A network frozen for inference cannot train. Received: training=True. "
            "Use an export without `inference_only`."
        )


def output_name(name: str) -> str:
    """The operation that gives one of `OUTPUTS` in a frozen graph."""
    return f"frozen_{name}"
