"""Networks for inference only: batch norm and input scaling folded into the convolutions.

At inference a batch norm is a scale and an offset a channel, which its convolution's kernel and a
bias can hold. What is left, convolution + bias + ReLU (+ shortcut), is one operation where
TensorFlow fuses (oneDNN on CPUs), without the passes over memory that batch norm and ReLU cost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.config import INFERENCE_PRECISIONS
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.input_normalization import INPUT_SCALINGS, InputNormalization
from perfnet_tf.models.layers import ConvUnit, FactorizedConv3D
from perfnet_tf.models.precision import precision_policy
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.models.video_shapes import pad_symmetrically
from perfnet_tf.streams import STREAMS


def fold_batch_norm(model: VideoModel, *, precision: str = "float32") -> VideoModel:
    """Copies a network for inference, without batch norms: the same endpoints, sooner.

    Args:
        model: built; it is not changed.
        precision: `float32`, or `bfloat16` for weights and activations both; pooled features and
            logits are float32 in either.

    Returns:
        A network of the same class. Its weights cannot be trained further, nor saved as a run.

    Raises:
        InputError: another precision, or a network that is not built.
    """
    check_choice("precision", precision, INFERENCE_PRECISIONS)
    if not model.built:
        raise InputError("Only a built network has weights to fold. Call it, or build_for_stream.")
    with precision_policy(precision):
        folded = type(model).from_config({**model.get_config(), "name": f"{model.name}_folded"})
        folded.build_for_stream()
        pairs = list(zip(_leaves(model), _leaves(folded), strict=True))
        stem = _stem(model)
        if stem is not None:
            scaling = model.normalization.scaling
            folded.normalization = CenteredInputs(model.stream, scaling, name="normalization")
        for source, target in pairs:
            if not isinstance(source, ConvUnit):
                for value, variable in zip(source.weights, target.weights, strict=True):
                    variable.assign(tf.cast(value, variable.dtype))
            elif source is stem:
                _fold_unit(source, target, folded.normalization.scale())
            else:
                _fold_unit(source, target)
    return folded


def fold_teacher(model: VideoModel, training_precision: str) -> VideoModel:
    """`fold_batch_norm` for a step that computes in one of `config.TRAINING_PRECISIONS`."""
    precision = "bfloat16" if training_precision == "mixed_bfloat16" else training_precision
    return fold_batch_norm(model, precision=precision)


class FusedConv3D(FactorizedConv3D):
    """A convolution left whole, for TensorFlow to fuse with what follows.

    With constant weights oneDNN's 3-D kernels are as fast as its 2-D ones, and the reshapes to and
    from 2-D would hide from TensorFlow that the shortcut, too, can be fused.
    """

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        padding = "SAME"
        if self.pad_symmetrically and max(self.strides) > 1:
            inputs, padding = pad_symmetrically(inputs, self.kernel_size, 0.0), "VALID"
        return tf.nn.conv3d(inputs, kernel, [1, *self.strides, 1], padding)


class CenteredInputs(InputNormalization):
    """`InputNormalization` less its scale, which the first convolution holds.

    A stream's own `normalize` stays here as a whole.

    Not its mean: the convolution pads with zeros, which have to stay the mean colour.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Subtracts the mean; see the class."""
        inputs = tf.convert_to_tensor(inputs)
        self._check(inputs)
        values = tf.cast(inputs, tf.float32)
        stream = STREAMS[self.stream]
        if stream.normalize is not None:
            return tf.cast(stream.normalize(values), self.compute_dtype)
        if stream.limit is not None:
            values = tf.clip_by_value(values, -stream.limit, stream.limit)
            return tf.cast(values, self.compute_dtype)
        if inputs.dtype == tf.uint8:
            values = values * (1 / 255.0)
        mean = INPUT_SCALINGS[self.scaling][0]
        # One number for all channels: CPUs take five times as long to subtract three.
        if len(set(mean)) == 1:
            values = values - mean[0] if mean[0] else values
        else:
            values = tf.nn.bias_add(values, tf.constant([-channel for channel in mean]))
        return tf.cast(values, self.compute_dtype)

    def scale(self) -> np.ndarray:
        """float64 `[channels]`: what the first convolution multiplies its input by."""
        stream = STREAMS[self.stream]
        if not stream.is_picture:
            return np.full(stream.channels, 1 / stream.limit if stream.limit else 1.0)
        return 1 / np.array(INPUT_SCALINGS[self.scaling][1])


def _leaves(model: tf_keras.Model) -> list[tf_keras.layers.Layer]:
    """The convolution units, and the layers outside them that hold weights themselves."""
    layers = [part for part in model.submodules if isinstance(part, tf_keras.layers.Layer)]
    units = [layer for layer in layers if isinstance(layer, ConvUnit)]
    inside = {id(part) for unit in units for part in unit.submodules}
    return [
        layer
        for layer in layers
        if isinstance(layer, ConvUnit)
        or (
            id(layer) not in inside
            and layer.weights
            and not any(isinstance(part, tf_keras.layers.Layer) for part in layer.submodules)
        )
    ]


def _stem(model: VideoModel) -> ConvUnit | None:
    """The unit that sees the input: no other has as few input channels (`MIN_CHANNELS`)."""
    channels = STREAMS[model.stream].channels
    units = [layer for layer in _leaves(model) if isinstance(layer, ConvUnit)]
    stems = [unit for unit in units if unit.conv.kernel.shape[3] == channels]
    return stems[0] if len(stems) == 1 else None


def _fold_unit(source: ConvUnit, target: ConvUnit, input_scale: Any = 1.0) -> None:
    """Gives `target` a convolution with bias; `input_scale` is `[input channels]` or a number."""
    kernel = source.conv.kernel.numpy() * np.reshape(np.float64(input_scale), [-1, 1])
    norm = source.norm
    if norm is None:
        bias = source.conv.bias.numpy()
    else:
        scale = 1 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
        if norm.scale:
            scale = scale * norm.gamma.numpy()
        bias = norm.beta.numpy() - norm.moving_mean.numpy() * scale
        kernel = kernel * scale
    conv = FusedConv3D(
        source.filters,
        source.conv.kernel_size,
        source.conv.strides,
        pad_symmetrically=source.conv.pad_symmetrically,
        name="conv",
    )
    conv.build((None, None, None, None, kernel.shape[3]))
    conv.kernel.assign(tf.cast(kernel, conv.kernel.dtype))
    conv.bias.assign(tf.cast(bias, conv.bias.dtype))
    target.conv, target.norm = conv, None
