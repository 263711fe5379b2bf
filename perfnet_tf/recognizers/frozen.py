"""Networks frozen for inference, to call: in this process, or from a SavedModel."""

from __future__ import annotations

import functools
from typing import Any

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.frozen_graph import (
    INPUT,
    OUTPUTS,
    FrozenGraph,
    frozen_graph,
    input_specs,
)
from perfnet_tf.streams import FEATURES, LOGITS


class FrozenNetwork:
    """A frozen network to classify with in this process; its weights are in memory once.

    The interface is that of `InferenceModule`. Weights are arguments of the graph here: as
    constants of it, TensorFlow copies them with every step between reading and running it. Then a
    call of one small clip is up to a tenth faster, but the first one takes seconds longer.
    """

    def __init__(self, frozen: FrozenGraph) -> None:
        """Takes what `frozen_graph` or `exported_graph` gave."""
        self._frozen = frozen
        # On the device that computes; a CPU shares the memory.
        self._weights = {name: tf.identity(value) for name, value in frozen.weights.items()}
        self._traced = functools.cache(self._trace)

    @classmethod
    def from_model(cls, model: VideoModel, *, precision: str = "float32") -> FrozenNetwork:
        """Folds and freezes a built model; arguments of `frozen_graph`."""
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
        spec = tf.TensorSpec(self._frozen.input_shape, dtype, name=INPUT)

        @tf.function(autograph=False, input_signature=[spec])
        def network(inputs: tf.Tensor) -> list[tf.Tensor]:
            weights = {name: tf.identity(value) for name, value in self._weights.items()}
            return self._frozen.call(as_float(inputs), weights)

        return network.get_concrete_function()


class InferenceModule(tf.Module):
    """The interface of an export less what trains: no decay, no `endpoints`.

    `__call__(inputs)` gives logits float32 `[batch, classes]` and `features(inputs)` what was
    pooled, float32 `[batch, channels]`, of clips of any number, length and size. Batch norm is
    folded (`fold_batch_norm`). Every function reads the same `weights`, so that a process that
    loads and calls the SavedModel holds them once: as constants, TensorFlow copies them for each
    function and each step of its optimiser.
    """

    # Properties of tf.Module, which are not saved; lists are.
    variables: Any = ()
    trainable_variables: Any = ()

    def __init__(self, frozen: FrozenGraph, stream: str) -> None:
        """Traces a frozen network of `stream`."""
        super().__init__(name="recognizer")
        # Empty, for `hub.KerasLayer` to find.
        self.variables: list[Any] = []
        self.trainable_variables: list[Any] = []
        self.regularization_losses: list[Any] = []
        #: What `exported_graph` reads.
        self.weights = [
            tf.Variable(value, trainable=False, name=name) for name, value in frozen.weights.items()
        ]
        specs = input_specs(stream)
        self._network = _reading_variables(frozen, self.weights)
        for spec in specs:
            self.__call__.get_concrete_function(spec)
            self.features.get_concrete_function(spec)

    @classmethod
    def from_model(cls, model: VideoModel, *, precision: str = "float32") -> InferenceModule:
        """Folds and freezes a built model; arguments of `frozen_graph`."""
        return cls(frozen_graph(model, precision), model.stream)

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


def frozen_function(graph: tf.compat.v1.GraphDef) -> Any:
    """A concrete function of what `FrozenGraph.with_constants` gave: float32 clips to `OUTPUTS`."""
    frozen = FrozenGraph(graph, {})
    spec = tf.TensorSpec(frozen.input_shape, tf.float32, name=INPUT)
    function = tf.function(
        lambda inputs: frozen.call(inputs, {}), autograph=False, input_signature=[spec]
    )
    return function.get_concrete_function()


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


def _reading_variables(network: FrozenGraph, variables: list[tf.Variable]) -> Any:
    """The one function that all of a module's functions call; its name is `FUNCTION`."""
    names = list(network.weights)

    @tf.function(
        autograph=False,
        input_signature=[tf.TensorSpec(network.input_shape, tf.float32, name=INPUT)],
    )
    def frozen(inputs: tf.Tensor) -> list[tf.Tensor]:
        weights = {
            # `exported_graph` finds the variable by this name.
            name: tf.raw_ops.ReadVariableOp(
                resource=variable.handle, dtype=variable.dtype, name=f"weight_{index}"
            )
            for index, (name, variable) in enumerate(zip(names, variables, strict=True))
        }
        return network.call(inputs, weights)

    return frozen.get_concrete_function()
