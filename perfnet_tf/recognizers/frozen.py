"""A network frozen for inference: folded, its weights constants of the graph."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.replay import replay
from perfnet_tf.streams import FEATURES, LOGITS, STREAMS

#: What a frozen network returns, in this order.
OUTPUTS = (FEATURES, LOGITS)


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
        if training:
            raise InputError(
                "A network frozen for inference cannot train. Received: training=True. "
                "Use an export without `inference_only`."
            )
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
    """A concrete function from `spec` to pooled features and logits, its weights constants."""

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
        return replay(traced, inputs, {"ReadVariableOp": read})

    return frozen.get_concrete_function()


def input_specs(stream: str) -> list[tf.TensorSpec]:
    """What a model of `stream` takes: float32 first, and uint8 where the stream is pictures."""
    shape = [None, None, None, None, STREAMS[stream].channels]
    dtypes = STREAMS[stream].dtypes
    return [tf.TensorSpec(shape, tf.as_dtype(dtype), name="inputs") for dtype in dtypes]


def as_float(inputs: tf.Tensor) -> tf.Tensor:
    """Pictures of uint8 as float32 in [0, 1]; float32 as it is."""
    return tf.cast(inputs, tf.float32) / 255.0 if inputs.dtype == tf.uint8 else inputs
