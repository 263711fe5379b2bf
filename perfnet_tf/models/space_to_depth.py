"""Neighbouring pixels side by side as the channels of one, for TPUs.

A TPU stores channels by 128: a frame's three, or the 64 of a network's first features, take the
room of 128. Pixels of a block laid side by side are the same values in a fraction of the memory.
Kernels are laid out alike, zeros filling up what a block's results do not see.

A block of `[rows, columns]` pixels has `rows * columns * channels` channels: those of its first
pixel, of the next in its row, then those of the next row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from perfnet_tf.models.video_shapes import same_padding, sizes_of

#: Rows and columns of a block.
Block = tuple[int, int]
#: No blocks: every pixel by itself.
PIXEL: Block = (1, 1)
#: Two columns of one row.
PAIR: Block = (1, 2)
#: Of a convolution's input, at most, that is worth being laid in blocks for it.
MAX_CHANNELS = 4


def is_worth_it(inputs: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], block: Block) -> bool:
    """Whether `convolve` computes this strided convolution of frames, and in less memory.

    Args:
        inputs: `[batch, frames, height, width, channels]`.
        kernel: `[frames, rows, columns, channels, filters]`.
        strides: of frames, height and width.
        block: that the inputs would be laid in.
    """
    sizes, channels = inputs.shape[2:4], inputs.shape[4]
    if None in sizes or channels > MAX_CHANNELS:
        return False
    axes = list(zip(sizes, block, kernel.shape[1:3], strides[1:], strict=True))
    whole = all(size % side == side % stride == 0 for size, side, _, stride in axes)
    return whole and all(width > 1 and stride > 1 for *_, width, stride in axes)


def after_strides(block: Block, strides: Sequence[int]) -> Block:
    """The blocks that a convolution or pooling of these strides makes of such ones."""
    return max(block[0] // strides[1], 1), max(block[1] // strides[2], 1)


def to_blocks(frames: tf.Tensor, block: Block) -> tf.Tensor:
    """Lays `[batch, frames, height, width, channels]` in blocks; see the module."""
    if block == PIXEL:
        return frames
    _, num_frames, height, width, channels = sizes_of(frames)
    down, across = height // block[0], width // block[1]
    pixels = tf.reshape(frames, [-1, num_frames, down, block[0], across, block[1], channels])
    pixels = tf.transpose(pixels, [0, 1, 2, 4, 3, 5, 6])
    return tf.reshape(pixels, [-1, num_frames, down, across, block[0] * block[1] * channels])


def from_columns(blocks: tf.Tensor, block: Block) -> tf.Tensor:
    """`[batch, frames, height, width, channels]` of blocks of one row."""
    if block == PIXEL:
        return blocks
    _, num_frames, height, width, channels = sizes_of(blocks)
    return tf.reshape(blocks, [-1, num_frames, height, block[1] * width, channels // block[1]])


def convolve(
    blocks: tf.Tensor, kernel: tf.Tensor, strides: Sequence[int], symmetric: bool, block: Block
) -> tf.Tensor:
    """A convolution of frames that are laid in blocks.

    Args:
        blocks: float `[batch, frames, height / rows, width / columns, rows * columns * channels]`.
        kernel: `[frames, rows, columns, channels, filters]`, of the same type.
        strides: of frames, height and width. A block has a multiple of its stride of rows, and of
            columns, or one.
        symmetric: whether half the kernel is padded on both sides, else as SAME does.
        block: of the inputs.

    Returns:
        `[batch, ceil(frames / stride), ...]` in blocks of `after_strides(block, strides)`.
    """
    length, *window, channels, filters = kernel.shape
    sizes = sizes_of(blocks)[1:4]
    time = _Axis.of_pixels(sizes[0], length, strides[0], symmetric)
    down, across = (
        _Axis.of_pixels(size, width, stride, symmetric)
        if side == 1
        else _Axis.of_blocks(side, width, stride, symmetric)
        for size, side, width, stride in zip(sizes[1:], block, window, strides[1:], strict=True)
    )
    taps = tf.concat(
        [
            tf.pad(kernel, [[0, 0], row, column, [0, 0], [0, 0]])
            for row in down.places
            for column in across.places
        ],
        axis=-1,
    )
    inputs, outputs = block[0] * block[1] * channels, len(down.places) * len(across.places)
    taps = tf.reshape(
        taps,
        [length, down.blocks, block[0], across.blocks, block[1], channels, outputs * filters],
    )
    taps = tf.transpose(taps, [0, 1, 3, 2, 4, 5, 6])
    taps = tf.reshape(taps, [length, down.blocks, across.blocks, inputs, outputs * filters])
    padded = tf.pad(blocks, [[0, 0], time.padding, down.padding, across.padding, [0, 0]])
    steps = [time.step, down.step, across.step]
    return tf.nn.convolution(padded, taps, steps, "VALID", "NDHWC")


def max_pool_pairs(pairs: tf.Tensor, symmetric: bool) -> tf.Tensor:
    """Max pooling by 3x3 with stride 2 of frames whose columns are laid in pairs.

    Of equal values in a window another may take the gradient than in the pooling of the frames.

    Args:
        pairs: float `[batch, frames, height, width / 2, 2 channels]`.
        symmetric: whether windows begin one pixel before the frame, else with it, as SAME does.

    Returns:
        `[batch, frames, ceil(height / 2), width / 2, channels]`.
    """
    least = pairs.dtype.min
    if symmetric:
        pairs = tf.pad(pairs, [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]], constant_values=least)
    rows = tf.nn.max_pool3d(pairs, [1, 3, 1], [1, 2, 1], "VALID" if symmetric else "SAME")
    # Both columns move by a pair, then one of them is taken: the compiler computes that at once.
    beyond = [1, 0] if symmetric else [0, 1]
    moved = tf.pad(rows, [[0, 0], [0, 0], [0, 0], beyond, [0, 0]], constant_values=least)
    moved = moved[:, :, :, :-1] if symmetric else moved[:, :, :, 1:]
    first, second = tf.split(rows, 2, axis=-1)
    next_first, last_second = tf.split(moved, 2, axis=-1)
    if symmetric:
        return tf.maximum(tf.maximum(last_second, first), second)
    return tf.maximum(tf.maximum(first, second), next_first)


@dataclass(frozen=True)
class _Axis:
    """How a kernel meets the blocks of rows or columns, or of frames.

    Attributes:
        blocks: how many blocks the results of one block see.
        padding: blocks before the first and behind the last.
        step: from block to block.
        places: zeros in front of the kernel and behind it, for each result of a block.
    """

    blocks: int
    padding: Sequence[Any]
    step: int
    places: Sequence[Sequence[int]]

    @classmethod
    def of_pixels(cls, size: Any, width: int, stride: int, symmetric: bool) -> _Axis:
        """Of `size` single pixels, or frames."""
        half = (width - 1) // 2
        if symmetric:
            return cls(width, [half, half], stride, [[0, 0]])
        return cls(width, same_padding(size, width, stride), stride, [[0, 0]])

    @classmethod
    def of_blocks(cls, side: int, width: int, stride: int, symmetric: bool) -> _Axis:
        """Of blocks of `side` pixels, a multiple of the stride."""
        front = (width - 1) // 2 if symmetric else max(width - stride, 0) // 2
        begins = [begin - front for begin in range(0, side, stride)]
        first, last = begins[0] // side, (begins[-1] + width - 1) // side
        behind = side * (last + 1) - width
        places = [[begin - side * first, behind - begin] for begin in begins]
        return cls(last - first + 1, [-first, last], 1, places)
