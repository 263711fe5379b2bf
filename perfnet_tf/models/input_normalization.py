"""What a network is fed: a stream, as data holds it, brought to the network's own range."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models import PACKAGE
from perfnet_tf.streams import STREAMS

#: Scaling -> (mean, standard deviation) of red, green and blue in 0..1: networks see
#: `(pixel - mean) / deviation`. A network must be fed the scaling it was trained with.
INPUT_SCALINGS = {
    # [-1, 1]: TF-slim, I3D; Model Garden with `zero_centering_image`.
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # [0, 1]: Model Garden without.
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    # Kinetics' mean and deviation: torchvision's video networks.
    "torchvision": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    # 0..255 without ImageNet's mean: Keras' ResNet50 (whose kernels have blue first).
    "caffe": (
        (123.68 / 255, 116.779 / 255, 103.939 / 255),
        (1 / 255, 1 / 255, 1 / 255),
    ),
}


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class InputNormalization(tf_keras.layers.Layer):
    """Brings a stream, as data holds it, to the range that the network was made for.

    Call:
        inputs: `[batch, frames, height, width, channels]`. RGB and pose: uint8 in 0..255, or float
            in 0..1. Flow: float (dx, dy) in pixels per frame.

    Returns:
        Same shape, in the layer's compute dtype. RGB and pose as `INPUT_SCALINGS` says; flow
        clipped to +-20 pixels and scaled to [-1, 1].

    Raises:
        InputError: another dtype, rank or number of channels.
    """

    def __init__(self, stream: str, scaling: str = "signed", **kwargs: Any) -> None:
        """Makes a normalisation.

        Args:
            stream: name of a stream.
            scaling: key of `INPUT_SCALINGS`, for streams of pictures; others have one only.
            **kwargs: of the Keras layer.
        """
        check_choice("stream", stream, STREAMS)
        check_choice("input_scaling", scaling, INPUT_SCALINGS)
        # Without autocast, flow in pixels is clipped and scaled before it loses bits to bfloat16.
        super().__init__(autocast=False, **kwargs)
        self.stream = stream
        self.scaling = scaling

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Normalises; see the class."""
        inputs = tf.convert_to_tensor(inputs)
        self._check(inputs)
        values = tf.cast(inputs, tf.float32)
        stream = STREAMS[self.stream]
        if stream.normalize is not None:
            values = stream.normalize(values)
        elif stream.limit is not None:
            values = tf.clip_by_value(values, -stream.limit, stream.limit) / stream.limit
        else:
            mean, deviation = INPUT_SCALINGS[self.scaling]
            white = 255.0 if inputs.dtype == tf.uint8 else 1.0
            factor = [1 / (white * channel) for channel in deviation]
            offset = [center / channel for center, channel in zip(mean, deviation, strict=True)]
            values = values * tf.constant(factor) - tf.constant(offset)
        return tf.cast(values, self.compute_dtype)

    def _check(self, inputs: tf.Tensor) -> None:
        stream, shape = STREAMS[self.stream], inputs.shape
        if shape.rank is not None and (shape.rank != 5 or shape[-1] not in (None, stream.channels)):
            raise InputError(
                f"The {self.stream} stream is {stream.shape}. Received: shape {tuple(shape)}."
            )
        if not inputs.dtype.is_floating and inputs.dtype.name not in stream.dtypes:
            rule = f"The {self.stream} stream is uint8 in 0..255 or float in 0..1."
            if not stream.is_picture:
                rule = (
                    f"{stream.title.capitalize()} is float{stream.unit and ', ' + stream.unit}; "
                    f"dequantise stored {stream.title} first."
                )
            raise InputError(f"{rule} Received: {inputs.dtype.name}.")

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config()
        config.pop("autocast", None)
        return {**config, "stream": self.stream, "scaling": self.scaling}
