"""PoseNet on MobileNetV1, rebuilt in Keras from a TensorFlow.js graph model.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225), in the form that TensorFlow.js
publishes: batch norm folded, any depth multiplier, the stride as converted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_model import GraphModel, int_list_attribute
from perfnet_tf.pose.skeleton import NUM_KEYPOINTS

_HEADS = ("heatmap", "offset", "displacement_fwd", "displacement_bwd")
_CONVOLUTIONS = ("Conv2D", "_FusedConv2D")
_DEPTHWISE = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


@dataclass(frozen=True)
class ConvolutionSpec:
    """One convolution, with batch norm folded into it.

    Attributes:
        name: `Conv2d_0`, `Conv2d_3_depthwise`, `heatmap`...
        kernel: float32 `[height, width, in, out]`, or `[height, width, in, 1]` if depthwise.
        bias: float32 `[out]`.
        stride, dilation: the same in both directions.
    """

    name: str
    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    dilation: int

    @property
    def depthwise(self) -> bool:
        """Whether each channel is filtered by itself."""
        return self.name.endswith("_depthwise")


class MobilePoseNet(tf_keras.Model):
    """MobileNetV1 and four linear heads.

    Call:
        images: float32 `[batch, height, width, 3]` in [-1, 1]; height and width are multiples of
            the stride plus 1.

    Returns:
        Dict of float32 `[batch, (height - 1) / stride + 1, (width - 1) / stride + 1, channels]`:
        `heatmap` (17 logits), `offset` (34), `displacement_fwd` and `displacement_bwd` (32 each),
        the latter three in pixels, all y before all x.

    Attributes:
        stride: pixels per cell of the output grid.
    """

    def __init__(self, specs: Sequence[ConvolutionSpec], name: str = "posenet") -> None:
        """Builds the network that `specs` describe: the backbone in order, then the heads."""
        super().__init__(name=name, trainable=False)
        self.specs = tuple(specs)
        self.stride = int(np.prod([spec.stride for spec in specs]))
        self._backbone = [_layer(s) for s in specs if s.name not in _HEADS]
        self._heads = {s.name: _layer(s) for s in specs if s.name in _HEADS}

    def call(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """See the class."""
        features = images
        for layer in self._backbone:
            features = tf.nn.relu6(layer(features))
        return {name: layer(features) for name, layer in self._heads.items()}

    def preprocess(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames of 0..255 as the network takes them."""
        return tf.cast(frames, tf.float32) / 127.5 - 1.0

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {"specs": self.specs, "name": self.name}


def convolutions_of(graph: GraphModel) -> list[ConvolutionSpec]:
    """The convolutions of PoseNet's graph, backbone in order, then heads.

    Weights are found by the node that uses them, since converters rename constants.

    Raises:
        InputError: the graph is not PoseNet with a MobileNetV1 backbone.
    """
    found = {}
    for node, definition in graph.nodes.items():
        if definition["op"] in _CONVOLUTIONS + _DEPTHWISE:
            name = _layer_name(node)
            spec = _read_convolution(graph, node, name) if name else None
            if spec is not None:
                found[spec.name] = spec
    backbone = ["Conv2d_0"]
    for block in range(1, 14):
        backbone += [f"Conv2d_{block}_depthwise", f"Conv2d_{block}_pointwise"]
    missing = [name for name in (*backbone, *_HEADS) if name not in found]
    channels = {"heatmap": NUM_KEYPOINTS, "offset": 2 * NUM_KEYPOINTS}
    if missing or any(found[h].bias.size != channels.get(h, 2 * NUM_KEYPOINTS - 2) for h in _HEADS):
        lacking = f"it lacks {missing[0]}" if missing else "its heads have other channels"
        raise InputError(
            f"{graph.path} is not PoseNet with a MobileNetV1 backbone: {lacking}. "
            "`perfnet pose-weights --model=posenet_mobilenet` fetches one that is."
        )
    return [found[name] for name in (*backbone, *_HEADS)]


def _layer_name(node: str) -> str | None:
    """The layer that a node belongs to: `.../Conv2d_3_pointwise/Relu6` -> `Conv2d_3_pointwise`."""
    match = re.search(r"(?:^|/)(Conv2d_\d+(?:_depthwise|_pointwise)?|(\w+)_2)(?:/|$)", node)
    if not match or (match[2] and match[2] not in _HEADS):
        return None
    return match[2] or match[1]


def _read_convolution(graph: GraphModel, node: str, name: str) -> ConvolutionSpec | None:
    """The convolution at `node`, or None if its weights are no constants."""
    definition = graph.nodes[node]
    image, kernel, *fused = graph.inputs(node)
    bias_at = fused[0] if fused else None
    output = node
    dilations = int_list_attribute(definition, "dilations") or [1, 1, 1, 1]
    dilation = dilations[1]
    if graph.nodes[image]["op"] == "SpaceToBatchND":  # how TF 1 wrote a dilated convolution
        block = graph.constant(graph.inputs(image)[1])
        dilation = dilation if block is None else int(block[0])
        output = next(iter(graph.consumers(node)), node)
    if bias_at is None:
        for consumer in graph.consumers(output):
            if graph.nodes[consumer]["op"] in ("BiasAdd", "Add", "AddV2"):
                bias_at = next(i for i in graph.inputs(consumer) if i != output)
    kernel_value = graph.constant(kernel)
    bias_value = graph.constant(bias_at) if bias_at else None
    strides = int_list_attribute(definition, "strides")
    if kernel_value is None or bias_value is None or len(strides) != 4:
        return None
    return ConvolutionSpec(name, kernel_value, bias_value.reshape(-1), strides[1], dilation)


def _layer(spec: ConvolutionSpec) -> tf_keras.layers.Layer:
    options = {
        "kernel_size": spec.kernel.shape[:2],
        "strides": spec.stride,
        "dilation_rate": spec.dilation,
        "padding": "same",
        "name": spec.name,
    }
    if spec.depthwise:
        layer = tf_keras.layers.DepthwiseConv2D(**options)
    else:
        layer = tf_keras.layers.Conv2D(spec.kernel.shape[-1], **options)
    layer.build([None, None, None, spec.kernel.shape[2]])
    layer.set_weights([spec.kernel, spec.bias])
    return layer
