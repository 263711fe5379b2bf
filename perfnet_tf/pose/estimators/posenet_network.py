"""PoseNet's network: the TensorFlow.js graph as it is, on MobileNetV1 or ResNet-50.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225); the graphs are those of TensorFlow.js'
PoseNet 2.0: batch norm folded, any depth multiplier, the stride as converted. PERF-Net Sec. 3.1
finds its people with PoseNet.
"""

from __future__ import annotations

import re

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_function import graph_function
from perfnet_tf.pose.estimators.graph_model import GraphModel
from perfnet_tf.streams import NUM_KEYPOINTS

#: Mean colour of ImageNet that the ResNet graph leaves to its caller, RGB in 0..255.
_RESNET_MEAN = (123.15, 115.90, 103.06)
_MOBILENET_LAYERS = (
    "Conv2d_0",
    *(f"Conv2d_{n}_{kind}" for n in range(1, 14) for kind in ("depthwise", "pointwise")),
)
_HEADS = {
    "heatmap": r"float_heatmaps|(?:.*/)?heatmap_2(?:/BiasAdd)?",
    "offset": r"float_short_offsets|(?:.*/)?offset_2(?:/BiasAdd)?",
    "displacement_fwd": r"(?:.*/)?displacement_fwd_2(?:/BiasAdd)?",
    "displacement_bwd": r"(?:.*/)?displacement_bwd_2(?:/BiasAdd)?",
}
_CHANNELS = {
    "heatmap": NUM_KEYPOINTS,
    "offset": 2 * NUM_KEYPOINTS,
    "displacement_fwd": 2 * NUM_KEYPOINTS - 2,
    "displacement_bwd": 2 * NUM_KEYPOINTS - 2,
}
_PROBE = 129  # a multiple of every stride plus 1


class PoseNet:
    """A backbone and four linear heads.

    Attributes:
        stride: pixels per cell of the output grid, as converted: 8, 16 or 32.
    """

    def __init__(self, graph: GraphModel) -> None:
        """Turns the graph into a function.

        Raises:
            InputError: the graph is not PoseNet.
        """
        self._is_resnet = any("resnet_v1_" in name for name in graph.nodes)
        if not self._is_resnet:
            scopes = {scope for name in graph.nodes for scope in name.split("/")}
            missing = [layer for layer in _MOBILENET_LAYERS if layer not in scopes]
            if missing:
                raise self._refusal(graph, f"it lacks {missing[0]}")
        feeds = [name for name, node in graph.nodes.items() if node["op"] == "Placeholder"]
        if len(feeds) != 1:
            raise self._refusal(graph, f"it has {len(feeds)} inputs")
        fetches = {}
        for head, pattern in _HEADS.items():
            # A head's convolution, or the bias that follows it.
            found = [name for name in graph.nodes if re.fullmatch(pattern, name)]
            if not found:
                raise self._refusal(graph, f"it has no output {head}")
            fetches[head] = found[-1]
        self._run = graph_function(graph, feeds[0], fetches, [None, None, None, 3])
        probe = self._run(tf.zeros([1, _PROBE, _PROBE, 3]))
        for head, channels in _CHANNELS.items():
            if probe[head].shape[-1] != channels:
                raise self._refusal(
                    graph,
                    "its heads have other channels: "
                    f"{probe[head].shape[-1]} channels of {head}, not {channels}",
                )
        self.stride = (_PROBE - 1) // (probe["heatmap"].shape[1] - 1)

    def preprocess(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames of 0..255 as float32 that the network takes."""
        if self._is_resnet:
            return tf.cast(frames, tf.float32) - tf.constant(_RESNET_MEAN)
        return tf.cast(frames, tf.float32) / 127.5 - 1.0

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs the network.

        Args:
            images: float32 `[batch, height, width, 3]` of `preprocess`; height and width are
                multiples of the stride plus 1.

        Returns:
            Dict of float32 `[batch, (height - 1) / stride + 1, (width - 1) / stride + 1,
            channels]`: `heatmap` (17 logits), `offset` (34), `displacement_fwd` and
            `displacement_bwd` (32 each), the latter three in pixels, all y before all x.
        """
        return self._run(tf.convert_to_tensor(images, tf.float32))

    def _refusal(self, graph: GraphModel, reason: str) -> InputError:
        backbone = "ResNet" if self._is_resnet else "MobileNetV1"
        model = "posenet_resnet50" if self._is_resnet else "posenet_mobilenet"
        return InputError(
            f"{graph.path} is not PoseNet with a {backbone} backbone: {reason}. "
            f"`perfnet pose-weights --model={model}` fetches one that is."
        )
