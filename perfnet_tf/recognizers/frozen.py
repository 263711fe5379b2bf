"""Networks frozen for inference: folded, their weights constants of the graph."""

from __future__ import annotations

import functools
import os
import pathlib
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from perfnet_tf.errors import InputError
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.replay import replay
from perfnet_tf.streams import FEATURES, LOGITS, STREAMS

#: What a frozen network returns, in this order.
OUTPUTS = (FEATURES, LOGITS)
#: The network's function in an export, and its input.
_FUNCTION, _INPUT = "frozen", "inputs"


class FrozenNetwork:
    """A frozen network to classify with, in this process or out of a file.

    The interface is that of `InferenceModule`. It is one graph, which is traced only for the types
    of input that it is called with: a SavedModel holds its weights once for each traced function,
    and copies them over a dozen times while it is loaded.
    """

    def __init__(self, graph: tf.compat.v1.GraphDef) -> None:
        """Takes the graph of `freeze`."""
        self._graph = graph
        self._traced = functools.cache(self._trace)

    @classmethod
    def from_model(cls, model: VideoModel, *, precision: str = "float32") -> FrozenNetwork:
        """Folds and freezes a built model, which is not changed; arguments of `InferenceModule`."""
        folded = fold_batch_norm(model, precision=precision)
        return cls(freeze(folded, input_specs(model.stream)[0]).graph.as_graph_def())

    @classmethod
    def from_export(cls, folder: str | os.PathLike[str]) -> FrozenNetwork:
        """Reads the network of an `InferenceModule` out of a SavedModel.

        Raises:
            OSError: no file, or no right to read it.
            ValueError: damaged, or another kind of SavedModel.
        """
        saved = SavedModel()
        content = tf.io.gfile.GFile(os.path.join(folder, "saved_model.pb"), "rb").read()
        try:
            saved.ParseFromString(content)
        except DecodeError as error:
            raise ValueError(f"{folder} holds no SavedModel: {error}") from error
        library = saved.meta_graphs[0].graph_def.library if saved.meta_graphs else None
        functions = [
            function
            for function in (library.function if library else ())
            if function.signature.name.startswith(f"__inference_{_FUNCTION}_")
        ]
        if len(functions) != 1:
            raise ValueError(f"{folder} holds {len(functions)} frozen networks.")
        (function,) = functions
        graph = tf.compat.v1.GraphDef(versions=saved.meta_graphs[0].graph_def.versions)
        graph.library.function.append(function)
        shape = function.arg_attr[0].attr["_output_shapes"].list.shape[0]
        spec = tf.TensorSpec(shape, tf.as_dtype(function.signature.input_arg[0].type))
        with tf.Graph().as_default() as outer:
            tf.compat.v1.placeholder(spec.dtype, spec.shape, name=_INPUT)
            graph.node.extend(outer.as_graph_def().node)
        graph.node.add(name=_FUNCTION, op=function.signature.name, input=[_INPUT])
        for index, name in enumerate(OUTPUTS):
            node = graph.node.add(name=_output(name), op="Identity", input=[f"{_FUNCTION}:{index}"])
            node.attr["T"].type = tf.float32.as_datatype_enum
        return cls(graph)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FrozenNetwork:
        """Reads what `save` wrote.

        Raises:
            OSError: no file, or no right to read it.
            ValueError: damaged.
        """
        graph = tf.compat.v1.GraphDef()
        try:
            graph.ParseFromString(pathlib.Path(path).read_bytes())
        except DecodeError as error:
            raise ValueError(f"{path} holds no graph: {error}") from error
        return cls(graph)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the graph, weights included, as one file."""
        pathlib.Path(path).write_bytes(self._graph.SerializeToString())

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
        (shape,) = (node.attr["shape"].shape for node in self._graph.node if node.name == _INPUT)

        @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, dtype, name=_INPUT)])
        def network(inputs: tf.Tensor) -> list[tf.Tensor]:
            return tf.graph_util.import_graph_def(
                self._graph,
                {f"{_INPUT}:0": as_float(inputs)},
                [f"{_output(name)}:0" for name in OUTPUTS],
                name="",
            )

        return network.get_concrete_function()


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

    Its graph has one placeholder, `inputs`, and the outputs as operations that `FrozenNetwork`
    finds by name.
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
            tf.identity(output, name=_output(name))
            for name, output in zip(OUTPUTS, outputs, strict=True)
        ]

    return frozen.get_concrete_function()


def input_specs(stream: str) -> list[tf.TensorSpec]:
    """What a model of `stream` takes: float32 first, and uint8 where the stream is pictures."""
    shape = [None, None, None, None, STREAMS[stream].channels]
    dtypes = STREAMS[stream].dtypes
    return [tf.TensorSpec(shape, tf.as_dtype(dtype), name=_INPUT) for dtype in dtypes]


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


def _output(name: str) -> str:
    return f"frozen_{name}"
