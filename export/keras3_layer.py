"""A layer for Keras 3 that calls, and trains, a SavedModel of `perfnet export`.

Copy this file next to your program; it needs TensorFlow and Keras 3, and not perfnet_tf. In
tf_keras (Keras 2) use `hub.KerasLayer(path, trainable=True)` instead.

    import keras
    from keras3_layer import RecognizerLayer

    features = RecognizerLayer("student", part="feature_extractor")
    model = keras.Sequential([features, keras.layers.Dropout(0.5), keras.layers.Dense(5)])
    model.compile(
        keras.optimizers.SGD(0.005, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(clips, labels)  # clips: RGB [batch, frames, height, width, 3], float32 in [0, 1]

Why not what there is: `hub.KerasLayer` is a layer of Keras 2, and its variables are none to a
model of Keras 3; `keras.layers.TFSMLayer` never calls the graph in training mode (batch norm and
dropout) unless that is a separate signature, and has no weight decay.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class RecognizerLayer(keras.layers.Layer):
    """A reusable TF2 SavedModel as a layer that trains.

    Its variables are the layer's weights: optimizers update them, `.keras` and `.weights.h5` files
    hold them. In training, batch norm uses and updates its statistics and dropout drops; in
    inference, or with `trainable=False`, neither. The SavedModel's weight decay is in `losses`.

    Call:
        inputs: `[batch, frames, height, width, channels]`, any batch, frames and size; RGB and
            pose: uint8, or float in [0, 1]; flow: float (dx, dy) in pixels per frame.
        training: whether it trains.

    Returns:
        float32 `[batch, classes]` logits, or `[batch, channels]` of the feature extractor.

    Loading a SavedModel runs code from it: load files that you trust. That holds for a `.keras`
    file with this layer as well, which names its SavedModel.
    """

    def __init__(
        self,
        handle: str,
        *,
        part: str | None = None,
        trainable: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Loads the SavedModel.

        Args:
            handle: its folder, or a TF Hub or Kaggle address (needs tensorflow-hub).
            part: None for the whole recogniser; `feature_extractor` for the network without its
                classifier.
            trainable: whether its weights are trained and its batch norm adapts.
            name: of the layer.
            **kwargs: of `keras.layers.Layer`.
        """
        if keras.backend.backend() != "tensorflow":
            raise ValueError(
                "A SavedModel runs in TensorFlow only. Received: the Keras backend "
                f"{keras.backend.backend()!r}. Set KERAS_BACKEND=tensorflow before importing keras."
            )
        # float32 whatever the global policy is: the traced graph takes nothing else.
        super().__init__(trainable=trainable, name=name, **{**kwargs, "dtype": "float32"})
        self.handle = str(handle)
        self.part = part
        # Held whole: parts of a loaded module live no longer than it does.
        self._loaded = tf.saved_model.load(_local(self.handle))
        self._module = self._loaded if part is None else getattr(self._loaded, part, None)
        if not callable(self._module):
            raise ValueError(
                f"part must name a part of the SavedModel that can be called. Received: {part!r}."
            )
        trained = {variable.ref() for variable in self._module.trainable_variables}
        # A list attribute: Keras finds the variables in it. They wrap those of the module, so that
        # what the optimizer assigns is what the graph reads.
        self.module_weights = [
            keras.Variable(variable, trainable=variable.ref() in trained, name=_flat(variable.name))
            for variable in self._module.variables
        ]
        if any(
            ours.value is not theirs
            for ours, theirs in zip(self.module_weights, self._module.variables, strict=True)
        ):
            raise RuntimeError(
                f"Keras {keras.__version__} copies variables instead of wrapping them, so that "
                "training would not reach the SavedModel. Take Keras 3.8 to 3.15."
            )
        if not trainable:  # Keras froze the weights that were there before
            for variable in self.module_weights:
                variable.trainable = False
        # Keras would compile every fit by XLA, whose 3-D convolutions take 2 to 4 times as long on
        # a CPU.
        self.supports_jit = bool(tf.config.list_physical_devices("GPU"))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """See the class."""
        if inputs.dtype != tf.uint8:
            inputs = tf.cast(inputs, tf.float32)
        trains = bool(training and self.trainable)
        if self.trainable:
            for loss in self._module.regularization_losses:
                self.add_loss(loss())
        return self._module(inputs, training=trains)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "handle": self.handle, "part": self.part}


def _local(handle: str) -> str:
    """The folder of a SavedModel, fetched if `handle` is an address."""
    if not handle.startswith(("http://", "https://")):
        return handle
    import tensorflow_hub as hub

    return hub.resolve(handle)


def _flat(name: str) -> str:
    return name.split(":")[0].replace("/", "_")  # Keras 3 forbids slashes in names
