"""What every backbone is: a network from one stream of a clip to class logits."""

from __future__ import annotations

import abc
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.input_normalization import InputNormalization
from perfnet_tf.models.layers import kernel_decay
from perfnet_tf.models.modes import building, inference
from perfnet_tf.models.video_shapes import PADDINGS
from perfnet_tf.streams import FEATURES, LOGITS, RGB, STREAM_CHANNELS

#: No convolution gets fewer channels than this, however small the width multiplier.
#: Reference code: TF-slim's `min_depth`.
MIN_CHANNELS = 16


class VideoModel(tf_keras.Model):
    """A clip classifier; backbones say how features are computed and pooled.

    Call:
        inputs: `[batch, frames, height, width, channels]`, any batch, frames, height and width.
            RGB and pose: uint8 in 0..255 or float in 0..1; flow: float pixels per frame.
        training: whether batch norm takes the batch's moments and dropout drops.

    Returns:
        float32 logits `[batch, num_classes]`, also under mixed precision.

    The kernel decay is in `losses`: half the square sum of every convolution's, gate's and
    classifier's kernel, times `weight_decay`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        stream: str = RGB,
        width_multiplier: float = 1.0,
        dropout_rate: float = 0.5,
        weight_decay: float = 1e-4,
        input_scaling: str = "signed",
        padding: str = "same",
        name: str | None = None,
    ) -> None:
        """Makes an unbuilt network; `build_for_stream` or the first call creates its weights.

        Args:
            num_classes: number of logits.
            stream: `rgb`, `flow` or `pose`.
            width_multiplier: scales every layer's channels, to no fewer than 16.
            dropout_rate: before the classifier.
            weight_decay: of kernels.
            input_scaling: range of the RGB or pose frames that the first convolution sees: a key
                of `INPUT_SCALINGS`. Imported weights need the one they were trained with.
            padding: of convolutions and poolings with a stride: `same` (TensorFlow) or `symmetric`
                (PyTorch, Keras' ResNet50).
            name: of the Keras model.
        """
        # uint8 and pixels enter as they are; `InputNormalization` casts.
        super().__init__(name=name, autocast=False)
        if not (isinstance(num_classes, int) and num_classes > 0):
            raise InputError(f"num_classes must be a whole number > 0. Received: {num_classes!r}.")
        if not width_multiplier > 0:
            raise InputError(
                f"width_multiplier must be greater than 0. Received: {width_multiplier!r}."
            )
        if not 0 <= dropout_rate < 1:
            raise InputError(f"dropout_rate must be in [0, 1). Received: {dropout_rate!r}.")
        if not weight_decay >= 0:
            raise InputError(f"weight_decay must be 0 or greater. Received: {weight_decay!r}.")
        check_choice("padding", padding, PADDINGS)
        self.num_classes = num_classes
        self.stream = stream
        self.width_multiplier = width_multiplier
        self.dropout_rate = dropout_rate
        self.weight_decay = weight_decay
        self.input_scaling = input_scaling
        self.padding = padding
        self.normalization = InputNormalization(stream, input_scaling, name="normalization")
        # Pooling, dropout and classifier are float32 under mixed precision too.
        self.dropout = tf_keras.layers.Dropout(dropout_rate, dtype="float32", name="dropout")
        self.classifier = tf_keras.layers.Dense(
            num_classes,
            # Paper silent; our choice: small enough that the first loss is log(num_classes).
            kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
            kernel_regularizer=kernel_decay(weight_decay),
            dtype="float32",
            name="classifier",
        )

    @property
    def backbone(self) -> str:
        """The first name that the class is registered by; the class's own if there is none."""
        cls = type(self)
        names = (name for name, entry in BACKBONES.items() if entry.network is cls)
        return next(names, cls.__name__)

    @abc.abstractmethod
    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Endpoint name -> feature map, in order, of normalised inputs; the last is pooled."""

    def pool(self, features: tf.Tensor) -> tf.Tensor:
        """float32 `[batch, steps, channels]`: what dropout sees; the mean over steps is classified.

        Here one step: the mean over frames, height and width.
        """
        return tf.reduce_mean(features, axis=[1, 2, 3])[:, None]

    # No Python here depends on a tensor's value; AutoGraph would multiply tracing time.
    @tf.autograph.experimental.do_not_convert
    def endpoints(self, inputs: tf.Tensor, training: bool = False) -> dict[str, tf.Tensor]:
        """Everything the network computes on the way to its logits, by name.

        Args:
            inputs, training: see the class.

        Returns:
            Feature maps `[batch, frames, height, width, channels]` under the architecture's own
            names, then `features`, float32 `[batch, channels]`, pooled and without dropout, and
            `logits`, float32 `[batch, num_classes]`.
        """
        with inference(enabled=not training):
            endpoints = self.feature_maps(self.normalization(inputs), training)
        last = list(endpoints.values())[-1]
        steps = self.pool(tf.cast(last, tf.float32))
        kept = self.dropout(steps, training=training)
        endpoints[FEATURES] = tf.reduce_mean(steps, axis=1)
        endpoints[LOGITS] = self.classifier(tf.reduce_mean(kept, axis=1))
        return endpoints

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The logits; see the class."""
        return self.endpoints(inputs, training=bool(training))[LOGITS]

    def build_for_stream(self) -> VideoModel:
        """Creates the weights, which depend on the stream's channels only; returns the model."""
        if not self.built:
            with building():  # any size would do
                self.build((1, 16, 224, 224, STREAM_CHANNELS[self.stream]))
        return self

    def scaled(self, channels: int) -> int:
        """`channels` times the width multiplier, at least 16."""
        return max(int(channels * self.width_multiplier), MIN_CHANNELS)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            "num_classes": self.num_classes,
            "stream": self.stream,
            "width_multiplier": self.width_multiplier,
            "dropout_rate": self.dropout_rate,
            "weight_decay": self.weight_decay,
            "input_scaling": self.input_scaling,
            "padding": self.padding,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> VideoModel:
        """The unbuilt network with this configuration."""
        return cls(**config)
