"""2-D convolutions that train faster on CPUs: the gradient of their kernel is a matrix product.

What oneDNN calls for it suits large frames and few channels. Where a kernel is one pixel, or spans
time only, the product of all pixels' inputs and gradients, side by side for each tap of the kernel,
takes half the time in float32 and two thirds in bfloat16; on strided kernels of one pixel and small
frames a quarter, and a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from perfnet_tf.models.modes import trains_on_cpu
from perfnet_tf.models.video_shapes import sizes_of

#: From so many input channels on, laying the taps of larger kernels side by side pays, too.
MANY_CHANNELS = 512


def conv2d(images: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` of `[batch, height, width, channels]`.

    Args:
        images: float.
        kernel: `[rows, columns, channels, filters]`, of the same type.
        strides: of height and width.
        padding: `SAME` or `VALID`; the same thing where nothing is to be padded.
    """
    if not (trains_on_cpu() and _product_is_faster(kernel.shape, strides, padding)):
        return tf.nn.conv2d(images, kernel, strides, padding)

    @tf.custom_gradient
    def convolved(images: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, object]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_images = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(images),
                filter=kernel,
                out_backprop=upstream,
                strides=[1, *strides, 1],
                padding=padding,
            )
            return of_images, _gradient_of_kernel(images, upstream, kernel.shape, strides)

        return tf.nn.conv2d(images, kernel, strides, padding), gradient

    return convolved(images, kernel)


def _product_is_faster(shape: tf.TensorShape, strides: Sequence[int], padding: str) -> bool:
    rows, columns, channels, _ = shape
    if rows * columns == 1:
        return True
    is_line = min(rows, columns) == 1
    return max(strides) == 1 and padding == "SAME" and (is_line or channels >= MANY_CHANNELS)


def _gradient_of_kernel(
    images: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, strides: Sequence[int]
) -> tf.Tensor:
    rows, columns, channels, filters = shape
    if max(strides) > 1:
        # Every other pixel: slicing with strides takes several times as long.
        images = tf.nn.avg_pool2d(images, 1, strides, "VALID")
    taps = rows * columns
    if taps > 1:
        _, height, width, _ = sizes_of(upstream)
        above, left = (rows - 1) // 2, (columns - 1) // 2  # what SAME puts there
        below, right = rows - 1 - above, columns - 1 - left
        padded = tf.pad(upstream, [[0, 0], [below, above], [right, left], [0, 0]])
        upstream = tf.concat(
            [
                padded[:, rows - 1 - i :, columns - 1 - j :][:, :height, :width]
                for i in range(rows)
                for j in range(columns)
            ],
            axis=-1,
        )
    product = tf.matmul(
        tf.reshape(images, [-1, channels]),
        tf.reshape(upstream, [-1, taps * filters]),
        transpose_a=True,
    )
    by_tap = tf.transpose(tf.reshape(product, [channels, taps, filters]), [1, 0, 2])
    return tf.reshape(by_tap, shape)
