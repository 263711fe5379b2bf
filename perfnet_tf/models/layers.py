"""The layers that both backbones are built from: `[batch, frames, height, width, channels]`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models import PACKAGE, space_to_depth
from perfnet_tf.models.batch_norm import BatchNormOptions, VideoBatchNormalization
from perfnet_tf.models.filter_gradient import conv2d
from perfnet_tf.models.modes import is_building, is_inferring, runs_on_tpu, trains_on_cpu
from perfnet_tf.models.ordering import executed_after
from perfnet_tf.models.precision import lacks_bfloat16
from perfnet_tf.models.rematerialization import computed_again
from perfnet_tf.models.space_to_depth import PIXEL, Block
from perfnet_tf.models.video_shapes import (
    check_channels,
    merged_frames,
    pad_symmetrically,
    sizes_of,
)


def kernel_decay(weight_decay: float) -> tf_keras.regularizers.Regularizer | None:
    """The regulariser whose gradient is `weight_decay * kernel`: half the decayed square sum."""
    return tf_keras.regularizers.L2(weight_decay / 2) if weight_decay else None


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class FeatureGating(tf_keras.layers.Layer):
    """Scales each channel by a gate read from the whole clip.

    Source: Xie et al. 2018 (arXiv:1712.04851), feature gating; PERF-Net Sec. 3.2.

    Call:
        features: float `[batch, frames, height, width, channels]`.
        block: that they are laid in, see `space_to_depth`.

    Returns:
        Same shape and dtype: `features * sigmoid(W mean(features) + b)`, twice that if `neutral`.
    """

    def __init__(
        self, *, use_bias: bool, neutral: bool = False, weight_decay: float = 0.0, **kwargs: Any
    ) -> None:
        """Makes a gate.

        Args:
            use_bias: whether the gate has b: Model Garden's does, TF-slim's does not.
            neutral: whether the gate begins as the identity: W is zero, and gates are twice the
                sigmoid, which is 1/2 there. Our choice, for weights that were trained without.
            weight_decay: of W.
            **kwargs: of the Keras layer.
        """
        super().__init__(**kwargs)
        self.use_bias = use_bias
        self.neutral = neutral
        self.weight_decay = weight_decay

    def build(self, input_shape: Any) -> None:
        """Creates W `[channels, channels]` and b `[channels]`."""
        # Reference code: TF-slim and Model Garden. Gates start at about 1/2.
        small = tf_keras.initializers.TruncatedNormal(stddev=0.01)
        self.gate = tf_keras.layers.Dense(
            int(input_shape[-1]),
            activation="sigmoid",
            use_bias=self.use_bias,
            kernel_initializer="zeros" if self.neutral else small,
            kernel_regularizer=kernel_decay(self.weight_decay),
            dtype=self.dtype_policy,
            name="gate",
        )
        self.gate.build((None, int(input_shape[-1])))
        super().build(input_shape)

    def call(self, features: tf.Tensor, block: Block = PIXEL) -> tf.Tensor:
        """Gates; see the class."""
        if is_building():
            return features
        positions = math.prod(block)
        context = tf.reduce_mean(features, axis=[1, 2, 3])  # [batch, positions * channels]
        if positions > 1:
            parts = tf.reshape(context, [-1, positions, context.shape[-1] // positions])
            context = tf.reduce_mean(parts, axis=1)
        gate = 2 * self.gate(context) if self.neutral else self.gate(context)
        gate = tf.tile(gate, [1, positions]) if positions > 1 else gate
        return features * gate[:, None, None, None, :]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "neutral": self.neutral,
            "weight_decay": self.weight_decay,
        }


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class FactorizedConv3D(tf_keras.layers.Conv3D):
    """A 3-D convolution, computed as a 2-D one where its kernel spans only space or only time.

    The same weights, shapes and results as `Conv3D` with SAME padding, by the kernels that CPUs
    and GPUs have tuned most; TPUs compute it in 3-D (`runs_on_tpu`). It also avoids a wrong result:
    on CPUs, TensorFlow 2.20's gradient of a bfloat16 3-D convolution with respect to its kernel is
    memory that nobody wrote where the kernel has more frames than the clip (3 on 2, at the end of
    S3D-G and I3D on 16 frames). A kernel that spans space and time then sees the clip with frames
    of zeros appended. CPUs without bfloat16 convolve it in float32 (`lacks_bfloat16`).
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        *,
        pad_symmetrically: bool = False,
        **kwargs: Any,
    ) -> None:
        """Makes a convolution.

        Args:
            filters: output channels.
            kernel_size, strides: (frames, height, width), or one number for all three.
            pad_symmetrically: see `video_shapes.PADDINGS`.
            **kwargs: of the Keras layer.
        """
        if kwargs.setdefault("padding", "same") != "same":
            raise InputError(f"Padding is SAME. Received: padding={kwargs['padding']!r}.")
        super().__init__(filters, kernel_size, strides, **kwargs)
        self.pad_symmetrically = pad_symmetrically

    def build(self, input_shape: Any) -> None:
        """Creates the weights."""
        super().build(input_shape)
        # Of pixels. Blocks have more channels; `call` checks both.
        self.input_spec = tf_keras.layers.InputSpec(ndim=5)

    def call(self, inputs: tf.Tensor, block: Block = PIXEL) -> tf.Tensor:
        """Convolves `[batch, frames, height, width, channels]`, in blocks by `space_to_depth`.

        Raises:
            InputError: other channels than the layer was built for.
        """
        check_channels(inputs, math.prod(block) * self.kernel.shape[3], "convolution")
        if block == PIXEL and (inputs.dtype != tf.bfloat16 or is_inferring()):
            return super().call(inputs)
        if block == PIXEL:
            outputs = self.convolution_op(inputs, self.kernel)
            outputs.set_shape(self.compute_output_shape(inputs.shape))
        else:
            outputs = self._convolve_blocks(inputs, self.kernel, block)
        if self.use_bias:
            # Not by `bias_add`, whose gradient CPUs add up in bfloat16: no sum passes 256 there.
            outputs = outputs + tf.tile(self.bias, [outputs.shape[-1] // self.filters])
        return outputs

    def _convolve_blocks(self, inputs: tf.Tensor, kernel: tf.Tensor, block: Block) -> tf.Tensor:
        symmetric = self.pad_symmetrically and max(self.strides) > 1
        return space_to_depth.convolve(inputs, kernel, self.strides, symmetric, block)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolves `[batch, frames, height, width, channels]`, without the bias."""
        if is_building():
            shape = self.compute_output_shape(inputs.shape)
            return tf.raw_ops.Placeholder(dtype=inputs.dtype, shape=shape)
        if inputs.dtype == tf.bfloat16 and lacks_bfloat16():
            # Kernels are cast when their turn comes, rather than all as a step begins.
            with tf.control_dependencies([inputs]):
                kernel = tf.convert_to_tensor(kernel)
            if is_inferring() or tf.executing_eagerly():
                return self._convolve_in_float32(inputs, kernel)
            return computed_again(self._convolve_in_float32, inputs, kernel, order=executed_after)
        return self._convolve(inputs, kernel)

    def _convolve_in_float32(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        casts = (tf.cast(value, tf.float32) for value in (inputs, kernel))
        return tf.cast(self._convolve(*casts), tf.bfloat16)

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        block = self.strides[1:]
        if runs_on_tpu() and space_to_depth.is_worth_it(inputs, kernel, self.strides, block):
            return self._convolve_blocks(space_to_depth.to_blocks(inputs, block), kernel, block)
        padding = "SAME"
        if self.pad_symmetrically and max(self.strides) > 1:
            inputs, padding = pad_symmetrically(inputs, self.kernel_size, 0.0), "VALID"
        if runs_on_tpu():
            strides = self.strides
            if self.kernel_size[1:] == (1, 1):
                # The gradient of a strided convolution multiplies the zeros between.
                inputs = inputs[:, :, :: strides[1], :: strides[2]]
                strides = (strides[0], 1, 1)
            return tf.nn.convolution(inputs, kernel, strides, padding, "NDHWC")
        if self.kernel_size[0] == 1 and self.strides[0] == 1:
            frames = tf.reshape(inputs, merged_frames(inputs))
            outputs = conv2d(frames, tf.squeeze(kernel, 0), self.strides[1:], padding)
            return tf.reshape(outputs, [-1, sizes_of(inputs)[1], *sizes_of(outputs)[1:]])
        if self.kernel_size[1:] == (1, 1):
            if max(self.strides[1:]) > 1:
                inputs = inputs[:, :, :: self.strides[1], :: self.strides[2]]
            _, num_frames, height, width, channels = sizes_of(inputs)
            pixels = tf.reshape(inputs, [-1, num_frames, height * width, channels])
            strides = (self.strides[0], 1)
            outputs = conv2d(pixels, tf.squeeze(kernel, 1), strides, padding)
            return tf.reshape(outputs, [-1, sizes_of(outputs)[1], height, width, self.filters])
        if inputs.dtype != tf.bfloat16 or padding == "VALID":
            return tf.nn.convolution(inputs, kernel, self.strides, padding, "NDHWC")
        num_frames, stride = sizes_of(inputs)[1], self.strides[0]
        # Whole strides: SAME then pads the clip's beginning as before.
        missing = -(-(self.kernel_size[0] - num_frames) // stride) * stride
        if not tf.is_tensor(missing) and missing <= 0:
            return tf.nn.convolution(inputs, kernel, self.strides, padding, "NDHWC")
        behind = tf.maximum(missing, 0)
        padded = tf.pad(inputs, [[0, 0], [0, behind], [0, 0], [0, 0], [0, 0]])
        outputs = tf.nn.convolution(padded, kernel, self.strides, padding, "NDHWC")
        return outputs[:, : -(-num_frames // stride)]

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "pad_symmetrically": self.pad_symmetrically}


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class VideoMaxPool(tf_keras.layers.MaxPool3D):
    """Max pooling of `[batch, frames, height, width, channels]`, padded by `video_shapes.PADDINGS`.

    With `symmetric` padding a window that hangs over the end is left out, as in PyTorch; a clip
    shorter than the window is one window.
    """

    def __init__(
        self, pool_size: Any, strides: Any, *, pad_symmetrically: bool = False, **kwargs: Any
    ) -> None:
        """Makes a pooling; sizes are (frames, height, width), or one number for all three."""
        kwargs.setdefault("padding", "same")
        super().__init__(pool_size, strides, **kwargs)
        if self.data_format != "channels_last":
            raise InputError(
                "Channels are the last axis: data_format must be channels_last. "
                f"Received: {self.data_format!r}."
            )
        self.pad_symmetrically = pad_symmetrically

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Pools; see the class."""
        if inputs.dtype == tf.bfloat16 and lacks_bfloat16():
            return tf.cast(self.call(tf.cast(inputs, tf.float32)), tf.bfloat16)
        padding = self.padding.upper()
        if self.pad_symmetrically and max(self.strides) > 1:
            inputs = pad_symmetrically(inputs, self.pool_size, inputs.dtype.min, fill=True)
            padding = "VALID"
        options = (self.pool_size, self.strides, padding)
        if inputs.dtype == tf.float32 and trains_on_cpu():
            frames = tf.reshape(inputs, merged_frames(inputs))
            return max_pool_frames_then_time(frames, sizes_of(inputs)[1], *options)
        return tf.nn.max_pool3d(inputs, *options)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "pad_symmetrically": self.pad_symmetrically}


def max_pool_frames_then_time(
    frames: tf.Tensor, num_frames: Any, window: Sequence[int], strides: Sequence[int], padding: str
) -> tf.Tensor:
    """`tf.nn.max_pool3d` in 2-D, whose gradient takes half the time on CPUs.

    Of equal values the first gets the gradient, as from `tf.nn.max_pool3d` by oneDNN; without
    oneDNN that gives all of it to each of them.

    Args:
        frames: float `[batch * num_frames, height, width, channels]`.
        num_frames: of each clip.
        window, strides: of frames, height and width.
        padding: `SAME` or `VALID`.

    Returns:
        `[batch, frames, height, width, channels]`.
    """
    if max(*window[1:], *strides[1:]) > 1:
        frames = tf.nn.max_pool2d(frames, window[1:], strides[1:], padding)
    _, height, width, channels = sizes_of(frames)
    if max(window[0], strides[0]) > 1:
        pixels = tf.reshape(frames, [-1, num_frames, height * width, channels])
        frames = tf.nn.max_pool2d(pixels, (window[0], 1), (strides[0], 1), padding)
        num_frames = sizes_of(frames)[1]
    return tf.reshape(frames, [-1, num_frames, height, width, channels])


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class ConvUnit(tf_keras.layers.Layer):
    """A 3-D convolution, then batch norm or a bias, then ReLU.

    Call:
        inputs: float `[batch, frames, height, width, channels]`.
        block: that the inputs are laid in, see `space_to_depth`.

    Returns:
        `[batch, ceil(frames / stride), ceil(height / stride), ceil(width / stride), filters]`,
        in blocks of `space_to_depth.after_strides(block, strides)`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        *,
        batch_norm: BatchNormOptions | dict[str, Any] | None,
        activation: bool = True,
        kernel_initializer: Any = "VarianceScaling",
        weight_decay: float = 0.0,
        padding: str = "same",
        **kwargs: Any,
    ) -> None:
        """Makes a unit.

        Args:
            filters: output channels.
            kernel_size, strides: (frames, height, width), or one number for all three.
            batch_norm: of the output; None gives the convolution a bias instead.
            activation: whether a ReLU ends the unit.
            kernel_initializer: Keras initializer.
            weight_decay: of the kernel.
            padding: one of `video_shapes.PADDINGS`.
            **kwargs: of the Keras layer.
        """
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.batch_norm = (
            BatchNormOptions(**batch_norm) if isinstance(batch_norm, dict) else batch_norm
        )
        self.activation = activation
        self.kernel_initializer = tf_keras.initializers.get(kernel_initializer)
        self.weight_decay = weight_decay
        self.padding = padding
        self.conv = FactorizedConv3D(
            filters,
            kernel_size,
            strides,
            use_bias=batch_norm is None,
            kernel_initializer=kernel_initializer,
            kernel_regularizer=kernel_decay(weight_decay),
            pad_symmetrically=padding == "symmetric",
            name="conv",
        )
        self.norm = None
        if self.batch_norm is not None:
            self.norm = VideoBatchNormalization(**asdict(self.batch_norm), name="norm")

    def call(self, inputs: tf.Tensor, training: bool = False, block: Block = PIXEL) -> tf.Tensor:
        """Convolves; see the class."""
        return self._finish(self.conv(inputs, block=block), training, block)

    def convolve(self, inputs: tf.Tensor, block: Block = PIXEL) -> tf.Tensor:
        """The built unit's convolution alone."""
        with tf.name_scope(self.name):
            return self.conv(inputs, block=block)

    def finish(self, convolved: tf.Tensor, training: bool, block: Block = PIXEL) -> tf.Tensor:
        """What the built unit makes of its convolution's result; `block` is its inputs'."""
        with tf.name_scope(self.name):
            return self._finish(convolved, training, block)

    def _finish(self, convolved: tf.Tensor, training: bool, block: Block) -> tf.Tensor:
        outputs = convolved
        if self.norm is not None:
            positions = math.prod(space_to_depth.after_strides(block, self.conv.strides))
            outputs = self.norm(outputs, training=training, positions=positions)
        return tf.nn.relu(outputs) if self.activation else outputs

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "batch_norm": None if self.batch_norm is None else asdict(self.batch_norm),
            "activation": self.activation,
            "kernel_initializer": tf_keras.initializers.serialize(self.kernel_initializer),
            "weight_decay": self.weight_decay,
            "padding": self.padding,
        }


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class TemporalIdentity(tf_keras.initializers.Initializer):
    """Initialises a k x 1 x 1 kernel (k odd) so that its convolution returns its input.

    Source: TF-slim `i3d_utils.center_initializer`: an inflated network starts as the 2-D one.
    """

    def __call__(self, shape: Sequence[int], dtype: Any = None, **kwargs: Any) -> tf.Tensor:
        """The kernel of shape `[frames, 1, 1, channels, channels]`."""
        frames, height, width, channels, filters = shape
        if frames % 2 == 0 or (height, width) != (1, 1) or channels != filters:
            raise InputError(
                "A temporal identity kernel is [odd, 1, 1, channels, channels]. "
                f"Received: {tuple(shape)}."
            )
        identity = tf.eye(channels, dtype=dtype or tf.float32)
        silence = [tf.zeros_like(identity)] * (frames // 2)
        kernel = tf.stack([*silence, identity, *silence])  # [frames, channels, channels]
        return kernel[:, None, None]
