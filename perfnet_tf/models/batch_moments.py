"""Batch normalisation in training to the last bits of float32, on CPUs.

TensorFlow's fused kernel for CPUs adds up a channel's values one after the other in float32: over
the 400,000 positions of a first convolution the variance is off by 1e-5 to 1e-4, and the logits of
a deep network by 1e-4, where PyTorch sums in double. Here the kernel takes the moments of each
position of the frame on its own, over clips and frames, and those are combined pairwise: 1e-7.
On GPUs and TPUs, or in bfloat16, that would gain nothing.

oneDNN's kernel takes a quarter of the time for `[pixels, 1, 1, channels]` that it takes for the
same values as `[frames, height, width, channels]`, so pixels are normalised as the former. All of
this is then faster than the fused kernel on frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from perfnet_tf.models.modes import trains_on_cpu
from perfnet_tf.models.video_shapes import sizes_of

#: With so many channels oneDNN's gradient is a tenth to a fifth faster on pixels as well.
MIN_CHANNELS_FOR_GRADIENT = 64


def sums_lose_bits(frames: tf.Tensor) -> bool:
    """Whether the fused kernel would normalise these imprecisely: float32 on a CPU."""
    return frames.dtype == tf.float32 and trains_on_cpu()


@functools.cache
def exact_normalization(
    epsilon: float, momentum: float
) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Batch normalisation in training, as one function for every layer, traced once.

    Its call is one operation, where its body is sixty: a network's train step is traced in two
    thirds of the time.

    Args:
        epsilon: added to the variance.
        momentum: share of the old moving average that each step keeps.

    Returns:
        A function of frames float32 `[batch * frames, height, width, channels]`, and scale, offset,
        moving mean and moving variance `[channels]`: the normalised frames, and the moving
        averages after them.
    """
    vector = tf.TensorSpec([None])

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None] * 4), *[vector] * 4])
    def normalized(
        frames: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, *averages: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        mean, variance, count = moments(frames)
        moved = moving_averages(averages, (mean, variance), count, momentum)
        # Nobody asks for the averages' gradient, which would cost a pass.
        first, second = map(tf.stop_gradient, moved)
        return normalize(frames, scale, offset, mean, variance, epsilon), first, second

    result: Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]] = normalized
    return result


def moving_averages(
    averages: Sequence[tf.Tensor], values: Sequence[tf.Tensor], count: tf.Tensor, momentum: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Moving mean and variance after a step whose mean and biased variance are `values`.

    The moving variance averages the unbiased one of `count` values.
    """
    mean, variance = values
    unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
    old_mean, old_variance = averages
    keep, take = momentum, 1.0 - momentum
    return old_mean * keep + mean * take, old_variance * keep + unbiased * take


def moments(frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Moments over clips, frames, height and width.

    Args:
        frames: float32 `[batch * frames, height, width, channels]`.

    Returns:
        float32 mean `[channels]`, biased variance `[channels]`, and number of values a channel.
    """
    num_frames, *sizes = sizes_of(frames)
    height, width, channels = sizes
    values = height * width * channels
    rows = tf.reshape(frames, [num_frames, 1, 1, values])
    ones = tf.ones([values])
    kernel = tf.raw_ops.FusedBatchNormV3(
        x=rows,
        scale=ones,
        offset=ones,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        is_training=True,
    )
    means = tf.reshape(kernel.reserve_space_1, sizes)  # [height, width, channels]
    variances = tf.reshape(kernel.reserve_space_2, sizes)
    mean = _mean(means)
    variance = _mean(variances + tf.math.squared_difference(means, mean))
    return mean, variance, tf.cast(num_frames * height * width, tf.float32)


def _mean(positions: tf.Tensor) -> tf.Tensor:
    # Columns, then rows: a sum over both at once would be one long one.
    return tf.reduce_mean(tf.reduce_mean(positions, axis=1), axis=0)


def normalize(
    frames: tf.Tensor,
    scale: tf.Tensor,
    offset: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
) -> tf.Tensor:
    """`(frames - mean) / sqrt(variance + epsilon) * scale + offset`.

    The gradient is that of batch normalisation: `mean` and `variance` are those of `frames`.
    """
    shape = tf.shape(frames)
    channels = shape[-1]
    pixels = tf.stack([-1, 1, 1, channels])
    for_gradient = tf.where(channels >= MIN_CHANNELS_FOR_GRADIENT, pixels, shape)

    @tf.custom_gradient
    def normalized(
        frames: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor
    ) -> tuple[tf.Tensor, object]:
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=tf.reshape(frames, pixels),
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=epsilon,
            is_training=False,
        ).y

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            kernel = tf.raw_ops.FusedBatchNormGradV3(
                y_backprop=tf.reshape(upstream, for_gradient),
                x=tf.reshape(frames, for_gradient),
                scale=scale,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=tf.zeros([0]),
                epsilon=epsilon,
                is_training=True,
            )
            of_frames = tf.reshape(kernel.x_backprop, shape)
            return of_frames, kernel.scale_backprop, kernel.offset_backprop

        return tf.reshape(outputs, shape), gradient

    return normalized(frames, scale, offset)
