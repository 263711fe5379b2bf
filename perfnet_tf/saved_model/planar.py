"""A frozen network in 2-D operations, for runtimes whose 3-D ones are missing or not quantised."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.models.layers import max_pool_frames_then_time
from perfnet_tf.models.video_shapes import same_padding
from perfnet_tf.recognizers.replay import copy_operation, replay


def replay_planar(network: Any, inputs: tf.Tensor) -> list[tf.Tensor]:
    """Calls a frozen network with its 3-D convolutions and poolings computed as 2-D ones.

    A 1 x k x k operation runs on `[batch * frames, height, width, channels]` and a k x 1 x 1 one on
    `[batch, frames, height * width, channels]`. A convolution over space and time is one of space
    on the neighbouring frames' channels side by side; a max pooling, one of space, then of time.
    What is done to single values, such as adding a bias, is done before the result becomes a video
    again: only then do runtimes make one operation of it and the convolution.

    Args:
        network: what `freeze` gave.
        inputs: of a fully known shape, in a function that is being traced.

    Returns:
        The network's outputs.
    """
    return replay(network, inputs, SUBSTITUTES)


def _convolution(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    kernel = tf.get_static_value(operation.inputs[1])
    return [_convolve(taken[0], kernel, *_strides_and_padding(operation))]


def _pooling(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    window = operation.get_attr("ksize")[1:4]
    num_frames, options = taken[0].shape[1], _strides_and_padding(operation)
    return [max_pool_frames_then_time(_pictures(taken[0]), num_frames, window, *options)]


def _strides_and_padding(operation: tf.Operation) -> tuple[list[int], str]:
    return operation.get_attr("strides")[1:4], operation.get_attr("padding").decode()


def _per_value(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """An operation on single values, with broadcasting, in four dimensions."""
    shapes = {tuple(value.shape) for value in taken if value.shape.rank > 1}
    if len(shapes) == 1 and sum(value.shape.rank > 1 for value in taken) == 1:
        flat = [_unshaped(value) for value in taken]
    elif all(len(shape) == 5 for shape in shapes) and _broadcast_in_pictures(shapes):
        flat = [_pictures(value) if value.shape.rank == 5 else value for value in taken]
    else:
        return copy_operation(operation, taken)
    largest = max(taken, key=lambda value: value.shape.num_elements())
    return [tf.reshape(result, largest.shape) for result in copy_operation(operation, flat)]


def _broadcast_in_pictures(shapes: set[tuple[int, ...]]) -> bool:
    """Whether videos may meet as pictures: one of a single frame is for one clip only."""
    return len({shape[1] for shape in shapes}) == 1 or {shape[0] for shape in shapes} == {1}


def _joining(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """`tf.concat`; of videos along the channels, that of their pictures."""
    *values, axis = taken
    if values[0].shape.rank != 5 or int(tf.get_static_value(axis)) not in (4, -1):
        return copy_operation(operation, taken)
    joined = tf.concat([_pictures(value) for value in values], axis=-1)
    return [_video(joined, values[0].shape[0])]


def _mean(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """`tf.reduce_mean`; over frames, rows and columns, that of one tall picture per clip."""
    video, axes = taken
    outputs = copy_operation(operation, taken)
    if video.shape.rank != 5 or sorted(np.ravel(tf.get_static_value(axes))) != [1, 2, 3]:
        return outputs
    batch, frames, rows, columns, channels = video.shape
    tall = tf.reshape(_pictures(video), [batch, frames * rows, columns, channels])
    return [tf.reshape(tf.reduce_mean(tall, [1, 2], keepdims=True), outputs[0].shape)]


def _product(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """`tf.matmul` with constant weights: a 1 x 1 convolution, whose weights have a scale each."""
    weights = tf.get_static_value(operation.inputs[1])
    if weights is None or operation.get_attr("transpose_a") or operation.get_attr("transpose_b"):
        return copy_operation(operation, taken)
    rows, channels = taken[0].shape
    pixels = tf.reshape(_unshaped(taken[0]), [rows, 1, 1, channels])
    outputs = tf.nn.conv2d(pixels, weights[None, None], 1, "VALID")
    return [tf.reshape(outputs, [rows, weights.shape[1]])]


def _new_axes(operation: tf.Operation, taken: list[Any]) -> list[tf.Tensor]:
    """`x[:, None]`, where it takes everything: a view."""
    outputs = copy_operation(operation, taken)
    shape = outputs[0].shape
    if taken[0].shape.num_elements() != shape.num_elements() or _reverses(operation):
        return outputs
    return [tf.reshape(_unshaped(taken[0]), shape)]


def _reverses(operation: tf.Operation) -> bool:
    return any(step < 0 for step in tf.get_static_value(operation.inputs[3]))


#: What takes the place of an operation of the frozen network.
SUBSTITUTES = {
    "Conv3D": _convolution,
    "MaxPool3D": _pooling,
    "Mean": _mean,
    "ConcatV2": _joining,
    "MatMul": _product,
    "StridedSlice": _new_axes,
    **dict.fromkeys(("BiasAdd", "Relu", "AddV2", "Sub", "Mul", "Sigmoid"), _per_value),
}


def _unshaped(value: tf.Tensor) -> tf.Tensor:
    """What was reshaped to `value`, where it has four dimensions and the same channels."""
    if value.op.type == "Reshape":
        source = value.op.inputs[0]
        if source.shape.rank == 4 and source.shape[-1] == value.shape[-1]:
            return source
    return value


def _pictures(video: tf.Tensor) -> tf.Tensor:
    """`[batch * frames, height, width, channels]` of a video."""
    batch, frames, *picture = video.shape
    shape = [batch * frames, *picture]
    source = _unshaped(video)
    return source if source.shape.as_list() == shape else tf.reshape(source, shape)


def _video(pictures: tf.Tensor, batch: int) -> tf.Tensor:
    """`[batch, frames, height, width, channels]` of all frames' pictures."""
    return tf.reshape(pictures, [batch, pictures.shape[0] // batch, *pictures.shape[1:]])


def _pixels(video: tf.Tensor) -> tf.Tensor:
    """`[batch, frames, height * width, channels]`."""
    batch, frames, rows, columns, channels = video.shape
    return tf.reshape(_pictures(video), [batch, frames, rows * columns, channels])


def _convolve(video: tf.Tensor, kernel: Any, strides: list[int], padding: str) -> tf.Tensor:
    """`tf.nn.conv3d` of a constant kernel, as 2-D."""
    time, height, width, channels, filters = kernel.shape
    batch = video.shape[0]
    if (height, width) == (1, 1) and time > 1:
        if max(strides[1:]) > 1:
            video = _video(_pictures(video)[:, :: strides[1], :: strides[2]], batch)
        rows, columns = video.shape[2:4]
        outputs = tf.nn.conv2d(_pixels(video), kernel[:, 0], [strides[0], 1], padding)
        return tf.reshape(outputs, [batch, outputs.shape[1], rows, columns, filters])
    if time > 1 or strides[0] > 1:
        video = _neighbours_side_by_side(video, time, strides[0], padding)
        kernel = kernel.transpose(1, 2, 0, 3, 4).reshape(height, width, time * channels, filters)
    else:
        kernel = kernel[0]
    return _video(tf.nn.conv2d(_pictures(video), kernel, strides[1:], padding), batch)


def _neighbours_side_by_side(video: tf.Tensor, time: int, stride: int, padding: str) -> tf.Tensor:
    """`[batch, steps, height, width, time * channels]`: the frames that each step's kernel sees."""
    batch, frames, rows, columns, channels = video.shape
    steps = -(-frames // stride) if padding == "SAME" else (frames - time) // stride + 1
    around = same_padding(frames, time, stride) if padding == "SAME" else [0, 0]
    pixels = tf.pad(_pixels(video), [[0, 0], around, [0, 0], [0, 0]])
    end = (steps - 1) * stride + 1
    seen = [pixels[:, first : first + end : stride] for first in range(time)]
    return tf.reshape(tf.concat(seen, axis=-1), [batch, steps, rows, columns, time * channels])
