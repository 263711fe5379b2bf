"""What a network costs: parameters, and arithmetic counted from its graph."""

from __future__ import annotations

import math

import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import STREAM_CHANNELS

#: Operations that multiply and add; their second input is the kernel.
_CONVOLUTIONS = ("Conv2D", "Conv3D")


def count_parameters(model: VideoModel) -> int:
    """Number of trainable numbers in a built model."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def count_multiply_adds(model: VideoModel, clip: ClipConfig) -> int:
    """Multiply-adds of one clip's logits: of convolutions and matrix products in the graph.

    Positions where a kernel hangs over the padded border count in full, as is usual. Batch norm,
    pooling and element-wise operations (about 1 %) do not count.

    Args:
        model: built or not; calling it creates its weights.
        clip: frames, height and width.
    """
    shape = (1, clip.num_frames, clip.height, clip.width, STREAM_CHANNELS[model.stream])

    @tf.function(autograph=False)
    def logits(inputs: tf.Tensor) -> tf.Tensor:
        return model(inputs, training=False)

    # Traced, never run: a full-size clip costs no memory.
    graph = logits.get_concrete_function(tf.TensorSpec(shape, tf.float32)).graph
    return sum(_multiply_adds(operation) for operation in graph.get_operations())


def count_gflops(model: VideoModel, clip: ClipConfig) -> float:
    """10^9 floating-point operations of one clip's logits, a multiply-add being two."""
    return 2 * count_multiply_adds(model, clip) / 1e9


def _multiply_adds(operation: tf.Operation) -> int:
    if operation.type in _CONVOLUTIONS:
        kernel = operation.inputs[1].shape
        return int(_size(operation.outputs[0]) * math.prod(kernel[:-1]))
    if operation.type == "MatMul":
        summed = operation.inputs[0].shape[0 if operation.get_attr("transpose_a") else 1]
        return int(_size(operation.outputs[0]) * summed)
    return 0


def _size(tensor: tf.Tensor) -> int:
    if not tensor.shape.is_fully_defined():
        raise InputError(
            f"Operations can be counted at a fixed size only. Received: {tensor.name} of shape "
            f"{tensor.shape}."
        )
    return math.prod(tensor.shape)
