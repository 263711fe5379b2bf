"""Batch normalisation of video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models import PACKAGE
from perfnet_tf.models.batch_moments import exact_normalization, moving_averages, sums_lose_bits
from perfnet_tf.models.modes import (
    is_building,
    is_recomputing,
    is_synchronized,
    runs_on_tpu,
)
from perfnet_tf.models.synchronization import global_moments
from perfnet_tf.models.video_shapes import (
    check_channels,
    merged_frames,
    static_or_dynamic_shape,
)


@dataclass(frozen=True)
class BatchNormOptions:
    """How a backbone normalises.

    Attributes:
        momentum: share of the old moving average that each step keeps.
        epsilon: added to the variance.
        scale: whether channels have a learned scale (gamma) besides the offset (beta).
    """

    momentum: float
    epsilon: float
    scale: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise InputError(f"batch_norm_momentum must be in [0, 1]. Received: {self.momentum!r}.")
        if not self.epsilon > 0:
            raise InputError(
                f"batch_norm_epsilon must be greater than 0. Received: {self.epsilon!r}."
            )


def share_of_initial_averages(model: tf_keras.Model, steps: int) -> float:
    """How much of the initial values the slowest moving averages hold after training steps.

    Returns:
        In [0, 1]: the largest `momentum ** steps` of the model's trainable batch norms, 0 without
        one. With a share near 1, inference normalises by the initial values, not by the data.
    """
    norms = (
        layer
        for layer in model.submodules
        if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.trainable
    )
    return max((float(norm.momentum**steps) for norm in norms), default=0.0)


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class VideoBatchNormalization(tf_keras.layers.BatchNormalization):
    """Batch normalisation of video over batch, frames, height and width.

    The same moments, results and weights as `BatchNormalization` on 5-D input, but computed on
    `[batch * frames, height, width, channels]`: the fused kernel of CPUs takes 4-D input in a
    half (float32) to a third (bfloat16) of the time of a training step on 5-D.

    As in every fused batch norm of TensorFlow, the moving variance averages the unbiased one.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.setdefault("axis", -1) != -1:
            raise InputError(f"Channels are the last axis. Received: axis={kwargs['axis']!r}.")
        super().__init__(**kwargs)

    def build(self, input_shape: Any) -> None:
        """Creates the weights, of shape `[channels]`."""
        channels = tf.TensorShape(input_shape)[-1]
        super().build(tf.TensorShape([None, None, None, channels]))
        self.input_spec = tf_keras.layers.InputSpec(ndim=5)

    def call(self, inputs: tf.Tensor, training: Any = None, positions: int = 1) -> tf.Tensor:
        """Normalises `[batch, frames, height, width, channels]`; with batch moments in training.

        A frozen layer (`trainable` is False) takes its moving averages in training as well. With
        `positions` the last axis holds so many pixels, the channels of one after the other's.

        Raises:
            InputError: the last axis holds other channels than the layer was built for.
        """
        check_channels(inputs, positions * self.moving_mean.shape[0], "batch norm")
        if is_building():
            return inputs
        training = training if self.trainable else False
        if positions > 1:
            return self._normalize_by_moments(inputs, bool(training), positions)
        if runs_on_tpu() and not (training and is_synchronized()):
            return self._normalize_video(inputs, bool(training))
        frames = tf.reshape(inputs, merged_frames(inputs))
        if training and is_synchronized():
            normalized = self._normalize_by_moments(frames, True, positions)
        elif training is True and sums_lose_bits(frames):
            normalized = self._normalize_exactly(frames)
        else:
            normalized = super().call(frames, training=training)
        outputs = tf.reshape(normalized, static_or_dynamic_shape(inputs))
        outputs.set_shape(inputs.shape)
        return outputs

    def add_update(self, updates: Any) -> None:
        """Changes the moving moments, once a step."""
        if not is_recomputing():
            super().add_update(updates)

    def _normalize_video(self, inputs: tf.Tensor, training: bool) -> tf.Tensor:
        """By the fused operation on all five axes."""
        scale, offset, mean, variance = self._channel_values()
        outputs, *averages = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            scale,
            offset,
            mean,
            variance,
            epsilon=self.epsilon,
            data_format="NDHWC",
            is_training=training,
            exponential_avg_factor=1 - self.momentum if training else 1.0,
        )
        if training:
            self._move(averages)
        return outputs

    def _normalize_by_moments(self, inputs: tf.Tensor, training: bool, positions: int) -> tf.Tensor:
        """By moments of each position, put together; of all replicas where they meet."""
        values = tf.cast(inputs, tf.float32)
        scale, offset, mean, variance = self._channel_values()
        if training:
            averages = (mean, variance)
            mean, variance, count = (
                global_moments(inputs) if is_synchronized() else _moments_by_squares(values)
            )
            mean, variance = _moments_of_all(mean, variance, positions)
            moments = (mean, variance)
            self._move(moving_averages(averages, moments, count * positions, self.momentum))
        scale = scale * tf.math.rsqrt(variance + self.epsilon)
        scale, offset, mean = (tf.tile(vector, [positions]) for vector in (scale, offset, mean))
        return tf.cast((values - mean) * scale + offset, inputs.dtype)

    def _channel_values(self) -> list[tf.Tensor]:
        """Scale, offset, moving mean and moving variance, `[channels]` each."""
        channels = self.moving_mean.shape
        return [
            tf.identity(self.gamma) if self.scale else tf.ones(channels),
            tf.identity(self.beta) if self.center else tf.zeros(channels),
            tf.convert_to_tensor(self.moving_mean),
            tf.convert_to_tensor(self.moving_variance),
        ]

    def _normalize_exactly(self, frames: tf.Tensor) -> tf.Tensor:
        outputs, *averages = exact_normalization(self.epsilon, self.momentum)(
            frames, *self._channel_values()
        )
        self._move(averages)
        return outputs

    def _move(self, averages: Sequence[tf.Tensor]) -> None:
        if is_recomputing():
            return
        for variable, value in zip((self.moving_mean, self.moving_variance), averages, strict=True):
            variable.assign(value)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "axis": -1}


def _moments_by_squares(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """As `global_moments`, of this replica in one pass, as XLA's own batch norm takes them."""
    mean = tf.reduce_mean(values, axis=[0, 1, 2, 3])
    square = tf.reduce_mean(tf.square(values), axis=[0, 1, 2, 3])
    count = tf.cast(tf.size(values) / tf.shape(values)[-1], tf.float32)
    return mean, tf.maximum(square - tf.square(mean), 0.0), count


def _moments_of_all(
    means: tf.Tensor, variances: tf.Tensor, positions: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moments `[channels]` over positions, of those of each: `[positions * channels]`."""
    means = tf.reshape(means, [positions, -1])
    variances = tf.reshape(variances, [positions, -1])
    mean = tf.reduce_mean(means, axis=0)
    between = tf.math.squared_difference(means, mean)
    return mean, tf.reduce_mean(variances + between, axis=0)
