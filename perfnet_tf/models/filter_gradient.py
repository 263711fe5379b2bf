"""2-D convolutions that train faster on CPUs, by other ways to their kernel's gradient.

What oneDNN calls for it suits large frames and few channels. These ways are faster:

- Of kernels of one pixel, and of kernels in time: a product of all pixels' inputs with the upstream
  gradients, those of each tap of the kernel side by side. It takes half the time in float32 and two
  thirds in bfloat16; with strides and small frames a quarter, and a tenth.
- Of kernels in time, in float32: a product for each tap. A clip's frames follow each other in
  memory, so that nothing is copied to be side by side: 0.55 to 0.9 of the time of one product.
- Of kernels in space on 256 channels or more, in float32: a convolution with exchanged roles. Each
  channel of the inputs is a picture whose channels are the frames; convolved with the upstream
  gradients as one large kernel it gives the gradient in 0.65 to 0.9 of the time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from perfnet_tf.models.modes import trains_on_cpu
from perfnet_tf.models.video_shapes import same_padding, sizes_of

#: With so many input channels one product is faster for kernels in space as well.
MIN_CHANNELS_FOR_PRODUCT = 512
#: With so many input channels exchanged roles are faster.
MIN_CHANNELS_FOR_EXCHANGE = 256
#: Rows of a multiple of so many float32 values, 2 KiB, evict each other from a CPU's cache.
COLLIDING_ROW = 512

#: From images and upstream gradient to the kernel's gradient.
KernelGradient = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def conv2d(images: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], padding: str) -> tf.Tensor:
    """`tf.nn.conv2d` of `[batch, height, width, channels]`.

    Args:
        images: float; at least one.
        kernel: `[rows, columns, channels, filters]`, of the same type.
        strides: of height and width.
        padding: `SAME` or `VALID`; the same thing where nothing is to be padded.
    """
    gradient_of_kernel = _choose_gradient(kernel, strides, padding) if trains_on_cpu() else None
    if gradient_of_kernel is None:
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
            return of_images, gradient_of_kernel(images, upstream)

        return tf.nn.conv2d(images, kernel, strides, padding), gradient

    return convolved(images, kernel)


def _choose_gradient(
    kernel: tf.Tensor, strides: Sequence[int], padding: str
) -> KernelGradient | None:
    """None where TensorFlow's own is the fastest."""
    shape, is_float = kernel.shape, kernel.dtype == tf.float32
    rows, columns, channels, filters = shape
    in_space = min(rows, columns) > 1
    if rows * columns == 1:
        return functools.partial(_by_product, shape=shape, strides=strides)
    if max(strides) == 1 and padding == "SAME":
        if is_float and columns == 1 and not _rows_collide(channels, filters):
            return functools.partial(_by_tap, shape=shape)
        if not in_space or channels >= MIN_CHANNELS_FOR_PRODUCT:
            return functools.partial(_by_product, shape=shape, strides=strides)
    if is_float and in_space and channels >= MIN_CHANNELS_FOR_EXCHANGE:
        return functools.partial(_by_exchange, shape=shape, strides=strides, padding=padding)
    return None


def _by_product(
    images: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, strides: Sequence[int]
) -> tf.Tensor:
    """For kernels of one pixel, or SAME without strides."""
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
    product = _product_over_rows(
        tf.reshape(images, [-1, channels]), tf.reshape(upstream, [-1, taps * filters])
    )
    by_tap = tf.transpose(tf.reshape(product, [channels, taps, filters]), [1, 0, 2])
    return tf.reshape(by_tap, shape)


def _by_tap(images: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """For SAME without strides, of kernels in time."""
    taps, _, channels, filters = shape
    _, frames, pixels, _ = sizes_of(images)
    clips = tf.reshape(images, [-1, frames * pixels, channels])
    upstreams = tf.reshape(upstream, [-1, frames * pixels, filters])

    def add_clip(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        clip, of_outputs = clips[index], upstreams[index]
        products = []
        for tap in range(taps):
            ahead = tap - (taps - 1) // 2  # frames from an output to what this tap sees
            common = tf.maximum(frames - abs(ahead), 0) * pixels
            seen, seeing = max(ahead, 0) * pixels, max(-ahead, 0) * pixels
            products.append(
                tf.matmul(clip[seen:][:common], of_outputs[seeing:][:common], transpose_a=True)
            )
        return index + 1, *map(tf.add, sums, products)

    _, *sums = tf.while_loop(
        lambda index, *sums: index < tf.shape(clips)[0],
        add_clip,
        (0, *[tf.zeros([channels, filters])] * taps),
        parallel_iterations=1,
        maximum_iterations=clips.shape[0],  # lets XLA differentiate once more
    )
    return tf.stack(sums)[:, None]


def _rows_collide(first: int, second: int) -> bool:
    """Whether rows evict each other in a product of matrices of so many columns.

    They do in a wide matrix whose partner is narrow: oneDNN then multiplies it in place, without a
    copy in an order of its own.
    """
    narrow, wide = sorted((first, second))
    return wide % COLLIDING_ROW == 0 and narrow < COLLIDING_ROW


def _product_over_rows(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """`transpose(first) @ second`.

    Where rows evict each other, a transposed copy is faster all the same: 0.5 to 0.8 of the time in
    float32. TensorFlow's optimizer would take a transposition in front of a product out again, so a
    convolution of one pixel multiplies.
    """
    if first.dtype != tf.float32 or not _rows_collide(first.shape[1], second.shape[1]):
        return tf.matmul(first, second, transpose_a=True)
    wide, narrow = (first, second) if first.shape[1] > second.shape[1] else (second, first)
    product = tf.nn.conv2d(tf.transpose(wide)[None, :, None], narrow[None, None], 1, "VALID")
    product = tf.squeeze(product, [0, 2])
    return product if wide is first else tf.transpose(product)


def _by_exchange(
    images: tf.Tensor,
    upstream: tf.Tensor,
    shape: tf.TensorShape,
    strides: Sequence[int],
    padding: str,
) -> tf.Tensor:
    rows, columns, _, _ = shape
    if padding == "SAME":
        _, height, width, _ = sizes_of(images)
        vertical = same_padding(height, rows, strides[0])
        horizontal = same_padding(width, columns, strides[1])
        images = tf.pad(images, [[0, 0], vertical, horizontal, [0, 0]])
    pictures = tf.transpose(images, [3, 1, 2, 0])  # [channels, height, width, frames]
    large_kernel = tf.transpose(upstream, [1, 2, 0, 3])  # [height, width, frames, filters]
    gradient = tf.nn.conv2d(pictures, large_kernel, 1, "VALID", dilations=strides)
    # Strides may leave pixels behind the last window.
    gradient = gradient[:, :rows, :columns]
    return tf.transpose(gradient, [1, 2, 0, 3])
