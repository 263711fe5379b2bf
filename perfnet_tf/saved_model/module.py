"""The object that is exported: traced functions and variables, without Keras."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.models.modes import traced_for_any_device
from perfnet_tf.recognizers.frozen import as_float
from perfnet_tf.recognizers.frozen_graph import input_specs

MODES = (True, False)


class Network:
    """`model.endpoints` as one graph a mode, which everything exported calls.

    Concrete functions, because a `tf.function` would be traced again for each graph that calls it:
    a dozen copies of the network in the file. What a caller does not use of a copy is pruned.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        """Traces the endpoints of a built model."""
        self.model = model
        function = tf.function(model.endpoints, autograph=False)
        spec = input_specs(model.stream)[0]
        # Whoever trains an export may have a GPU, which keeps other moments in a batch norm's
        # reserve than CPUs do: traced for a CPU, the gradients would be wrong there.
        with traced_for_any_device():
            self._traces = {
                training: function.get_concrete_function(spec, training=training)
                for training in MODES
            }

    def __call__(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Every endpoint by name, of float32 `inputs`."""
        result: dict[str, tf.Tensor] = self._traces[bool(training)](inputs)
        return result

    def handles_behind(self, endpoint: str) -> set[int]:
        """Ids of the handles of the variables that an endpoint depends on, in either mode.

        The graph holds more: the endpoint need not be the last one.
        """
        handles = set()
        for trace in self._traces.values():
            waiting = [trace.structured_outputs[endpoint].op]
            seen = {waiting[0].name}
            while waiting:
                for tensor in waiting.pop().inputs:
                    if tensor.op.name not in seen:
                        seen.add(tensor.op.name)
                        waiting.append(tensor.op)
            captures = trace.graph.captures
            handles |= {id(outer) for outer, inner in captures if inner.op.name in seen}
        return handles


class RecognizerModule(tf.Module):
    """A network, or the part of it behind one endpoint; see the table of the package.

    The Keras model stays outside the saved object graph: TensorFlow alone can load the result, and
    neither the number of frames nor their size is fixed.
    """

    # tf.Module computes these two; the loaded object has no code to do so and needs the lists.
    variables: Any = ()
    trainable_variables: Any = ()

    def __init__(self, network: Network, endpoint: str) -> None:
        """Traces the calls.

        Args:
            network: of a built model.
            endpoint: what a call returns.
        """
        super().__init__(name="recognizer")
        self._network = network
        self._endpoint = endpoint
        model = network.model
        for spec in input_specs(model.stream):
            for training in MODES:
                self.__call__.get_concrete_function(spec, training=training)
        used = network.handles_behind(endpoint)
        self.variables = [v for v in model.variables if id(v.handle) in used]
        self.trainable_variables = [v for v in model.trainable_variables if id(v.handle) in used]
        # Functions hold their variables weakly: without this, a part of a loaded module dies with
        # the whole (`hub.load(path).feature_extractor`).
        self.network_variables = list(model.variables)
        self.regularization_losses = _regularization_losses(model, used)

    @tf.function(autograph=False)
    def __call__(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The endpoint, for `inputs` as the package says."""
        named = self._network(as_float(inputs), training=training)
        return named[self._endpoint]


def _regularization_losses(model: tf_keras.Model, used: set[int]) -> list[Any]:
    """One function: the weight decay of the variables with handles in `used`; none without decay.

    With the handles of all variables it is the sum of `model.losses`.
    """
    layers = [
        layer
        for layer in model.submodules
        if isinstance(layer, tf_keras.layers.Layer)
        and layer.losses
        and not any(isinstance(part, tf_keras.layers.Layer) for part in layer.submodules)
    ]
    found = sum(len(layer.losses) for layer in layers)
    if found != len(model.losses):
        raise RuntimeError(
            f"{type(model).__name__} has {len(model.losses)} losses, its layers {found}: a layer "
            "made of layers adds its own loss, which the export would leave out."
        )
    decayed = [layer for layer in layers if all(id(v.handle) in used for v in layer.variables)]
    if not decayed:
        return []

    @tf.function(autograph=False)
    def weight_decay() -> tf.Tensor:
        return tf.add_n([loss for layer in decayed for loss in layer.losses])

    weight_decay.get_concrete_function()
    return [weight_decay]
