"""A frozen network in 2-D operations, for runtimes whose 3-D ones are missing or not quantised."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from perfnet_tf.recognizers.replay import replay


def replay_planar(network: Any, inputs: tf.Tensor) -> list[tf.Tensor]:
    """Calls a frozen network with its 3-D convolutions and poolings computed as 2-D ones.

    A 1 x k x k operation runs on `[batch * frames, height, width, channels]` and a k x 1 x 1 one on
    `[batch, frames, height * width, channels]`. A convolution over space and time is one of space
    on the neighbouring frames' channels side by side; a max pooling, one of space, then of time.

    Args:
        network: what `freeze` gave.
        inputs: of a fully known shape, in a function that is being traced.

    Returns:
        The network's outputs.
    """
    return replay(network, inputs, {"Conv3D": _convolution, "MaxPool3D": _pooling})


def _convolution(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    kernel = tf.get_static_value(operation.inputs[1])
    return [_convolve(taken[0], kernel, *_strides_and_padding(operation))]


def _pooling(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    window = operation.get_attr("ksize")[1:4]
    return [_max_pool(taken[0], window, *_strides_and_padding(operation))]


def _strides_and_padding(operation: tf.Operation) -> tuple[list[int], str]:
    return operation.get_attr("strides")[1:4], operation.get_attr("padding").decode()


def _convolve(video: tf.Tensor, kernel: Any, strides: list[int], padding: str) -> tf.Tensor:
    """`tf.nn.conv3d` of a constant kernel, as 2-D."""
    time, height, width, channels, filters = kernel.shape
    if (height, width) == (1, 1) and time > 1:
        video = video[:, :, :: strides[1], :: strides[2]]
        batch, frames, rows, columns, _ = video.shape
        pixels = tf.reshape(video, [batch, frames, rows * columns, channels])
        outputs = tf.nn.conv2d(pixels, kernel[:, 0], [strides[0], 1], padding)
        return tf.reshape(outputs, [batch, outputs.shape[1], rows, columns, filters])
    if time > 1 or strides[0] > 1:
        video = _neighbours_side_by_side(video, time, strides[0], padding)
        kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(height, width, time * channels, filters)
    else:
        kernel = kernel[0]
    batch, frames = video.shape[:2]
    pictures = tf.reshape(video, [batch * frames, *video.shape[2:]])
    outputs = tf.nn.conv2d(pictures, kernel, strides[1:], padding)
    return tf.reshape(outputs, [batch, frames, *outputs.shape[1:]])


def _neighbours_side_by_side(video: tf.Tensor, time: int, stride: int, padding: str) -> tf.Tensor:
    """`[batch, steps, height, width, time * channels]`: the frames that each step's kernel sees."""
    frames = video.shape[1]
    steps = -(-frames // stride) if padding == "SAME" else (frames - time) // stride + 1
    reach = (steps - 1) * stride + time
    before = max(reach - frames, 0) // 2
    after = max(reach - frames - before, 0)
    video = tf.pad(video, [[0, 0], [before, after], [0, 0], [0, 0], [0, 0]])
    end = (steps - 1) * stride + 1
    return tf.concat([video[:, first : first + end : stride] for first in range(time)], axis=-1)


def _max_pool(video: tf.Tensor, window: list[int], strides: list[int], padding: str) -> tf.Tensor:
    """`tf.nn.max_pool3d` as 2-D."""
    batch, frames = video.shape[:2]
    if max(*window[1:], *strides[1:]) > 1:
        pictures = tf.reshape(video, [batch * frames, *video.shape[2:]])
        pictures = tf.nn.max_pool2d(pictures, window[1:], strides[1:], padding)
        video = tf.reshape(pictures, [batch, frames, *pictures.shape[1:]])
    if max(window[0], strides[0]) > 1:
        rows, columns, channels = video.shape[2:]
        pixels = tf.reshape(video, [batch, frames, rows * columns, channels])
        pixels = tf.nn.max_pool2d(pixels, [window[0], 1], [strides[0], 1], padding)
        video = tf.reshape(pixels, [batch, pixels.shape[1], rows, columns, channels])
    return video
