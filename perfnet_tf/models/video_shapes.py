"""Shapes of video tensors, whose sizes may be unknown while a network is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from perfnet_tf.errors import InputError

#: How convolutions and poolings with a stride pad. `same` is TensorFlow's, which may put one
#: more element behind than in front; `symmetric` puts half the window on both sides, as PyTorch's
#: networks and Keras' ResNet50 do. Without a stride both are the same.
PADDINGS = ("same", "symmetric")


def check_channels(video: tf.Tensor, channels: int, layer: str) -> None:
    """Raises `InputError` if the last axis is not what the layer, named in words, was built for."""
    if video.shape[-1] != channels:
        raise InputError(f"This {layer} takes {channels} channels. Received: {video.shape[-1]}.")


def merged_frames(video: tf.Tensor) -> Any:
    """The shape `[batch * frames, height, width, channels]`."""
    return [-1, *sizes_of(video)[2:]]


def static_or_dynamic_shape(video: tf.Tensor) -> Any:
    """The shape to give `tf.reshape` for a result like `video`."""
    sizes = video.shape.as_list()
    return tf.shape(video) if sizes.count(None) > 1 else [-1 if n is None else n for n in sizes]


def pad_symmetrically(
    video: tf.Tensor, window: Sequence[int], value: float, *, fill: bool = False
) -> tf.Tensor:
    """Pads frames, height and width by half a window, rounded down, on both sides.

    Args:
        video: `[batch, frames, height, width, channels]`.
        window: frames, height, width.
        value: what is put there.
        fill: whether an axis that is still shorter than the window is padded at its end to its
            length.
    """
    widths: list[Any] = []
    for size, length in zip(sizes_of(video)[1:4], window, strict=True):
        half = (length - 1) // 2
        lacking: Any = 0
        if fill and length % 2 == 0:  # an odd window reaches over two halves and one element
            lacking = length - 2 * half - size
            lacking = tf.maximum(lacking, 0) if tf.is_tensor(lacking) else max(lacking, 0)
        widths.append([half, half + lacking])
    return tf.pad(video, [[0, 0], *widths, [0, 0]], constant_values=value)


def same_padding(size: Any, window: int, stride: int) -> list[Any]:
    """How many elements SAME puts in front of an axis of `size`, and behind it.

    Numbers, or scalar tensors if `size` is one.
    """
    lacking = (-(-size // stride) - 1) * stride + window - size
    lacking = tf.maximum(lacking, 0) if tf.is_tensor(lacking) else max(lacking, 0)
    return [lacking // 2, lacking - lacking // 2]


def sizes_of(tensor: tf.Tensor) -> list[Any]:
    """Each axis's size: a number where it is known, else a scalar tensor."""
    sizes: list[Any] = tensor.shape.as_list()
    if None not in sizes:
        return sizes
    # Two operations. An index for each axis would be five for each, most of a network's graph.
    dynamic = tf.unstack(tf.shape(tensor), num=len(sizes))
    return [dynamic[axis] if size is None else size for axis, size in enumerate(sizes)]
