"""A first convolution with stride 2 as one without, on a quarter of the pixels.

A TPU stores a frame's three channels as eight or 128. Four neighbouring pixels as the channels of
one are twelve, in a quarter of the places: the same values, in a fraction of the memory. The
kernel's rows and columns are put together alike, zeros filling up what is odd.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from perfnet_tf.models.video_shapes import sizes_of

#: Of the input, at most; with more channels there is little to win.
MAX_CHANNELS = 4


def is_worth_it(inputs: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int]) -> bool:
    """Whether `convolve` computes this convolution, and in less memory.

    Args:
        inputs: `[batch, frames, height, width, channels]`.
        kernel: `[frames, rows, columns, channels, filters]`.
        strides: of frames, height and width.
    """
    height, width, channels = inputs.shape[2:]
    even = height is not None and width is not None and height % 2 == width % 2 == 0
    wide = min(kernel.shape[1:3]) > 1
    return even and wide and channels <= MAX_CHANNELS and tuple(strides[1:]) == (2, 2)


def convolve(
    inputs: tf.Tensor, kernel: tf.Tensor, temporal_stride: int, symmetric: bool
) -> tf.Tensor:
    """A convolution with stride 2 in height and width, which are even.

    Args:
        inputs: float `[batch, frames, height, width, channels]`.
        kernel: `[frames, rows, columns, channels, filters]`, of the same type.
        temporal_stride: of frames.
        symmetric: whether half the kernel is padded on both sides, else as SAME does.

    Returns:
        `[batch, ceil(frames / stride), height / 2, width / 2, filters]`.
    """
    _, num_frames, height, width, channels = sizes_of(inputs)
    length, rows, columns, _, filters = kernel.shape
    if symmetric:
        before = [(size - 1) // 2 for size in (length, rows, columns)]
        time_behind = before[0]
    else:
        steps = -(-num_frames // temporal_stride)
        lacking = (steps - 1) * temporal_stride + length - num_frames
        lacking = tf.maximum(lacking, 0) if tf.is_tensor(lacking) else max(lacking, 0)
        before = [lacking // 2, (rows - 2) // 2, (columns - 2) // 2]
        time_behind = lacking - before[0]
    pads, places = [[0, 0], [before[0], time_behind]], []
    for size, front in zip((rows, columns), before[1:], strict=True):
        whole = front + front % 2  # the kernel begins at an even pixel
        blocks = -(-(whole - front + size) // 2)
        places.append([whole - front, 2 * blocks - (whole - front) - size])
        pads.append([whole // 2, blocks - 1 - whole // 2])
    pixels = tf.reshape(inputs, [-1, num_frames, height // 2, 2, width // 2, 2, channels])
    pixels = tf.transpose(pixels, [0, 1, 2, 4, 3, 5, 6])
    shape = [-1, num_frames, height // 2, width // 2, 4 * channels]
    padded = tf.pad(tf.reshape(pixels, shape), [*pads, [0, 0]])
    whole_kernel = tf.pad(kernel, [[0, 0], *places, [0, 0], [0, 0]])
    down, across = whole_kernel.shape[1] // 2, whole_kernel.shape[2] // 2
    taps = tf.reshape(whole_kernel, [length, down, 2, across, 2, channels, filters])
    taps = tf.transpose(taps, [0, 1, 3, 2, 4, 5, 6])
    taps = tf.reshape(taps, [length, down, across, 4 * channels, filters])
    return tf.nn.convolution(padded, taps, [temporal_stride, 1, 1], "VALID", "NDHWC")
