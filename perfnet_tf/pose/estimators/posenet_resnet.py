"""PoseNet on ResNet-50: the TensorFlow.js graph as it is.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225); the graphs and their ImageNet mean are
those of TensorFlow.js' PoseNet 2.0. PERF-Net Sec. 3.1 finds its people with PoseNet.
"""

from __future__ import annotations

import re

import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_function import graph_function
from perfnet_tf.pose.estimators.graph_model import GraphModel
from perfnet_tf.pose.skeleton import NUM_KEYPOINTS

#: Mean colour of ImageNet that the graph leaves to its caller, RGB in 0..255.
_MEAN = (123.15, 115.90, 103.06)
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


class ResNetPoseNet:
    """ResNet-50 and four linear heads.

    Attributes:
        stride: pixels per cell of the output grid, as converted: 16 or 32.
    """

    def __init__(self, graph: GraphModel) -> None:
        """Makes the graph a function.

        Raises:
            InputError: the graph is not PoseNet.
        """
        feeds = [name for name, node in graph.nodes.items() if node["op"] == "Placeholder"]
        fetches = {head: _last(graph, pattern) for head, pattern in _HEADS.items()}
        missing = [head for head, node in fetches.items() if node is None]
        if missing or len(feeds) != 1:
            raise _refusal(graph, f"no output {missing[0]}" if missing else f"{len(feeds)} inputs")
        named = {head: node for head, node in fetches.items() if node is not None}
        self._run = graph_function(graph, feeds[0], named, [None, None, None, 3])
        probe = self._run(tf.zeros([1, _PROBE, _PROBE, 3]))
        for head, channels in _CHANNELS.items():
            if probe[head].shape[-1] != channels:
                raise _refusal(graph, f"{probe[head].shape[-1]} channels of {head}")
        self.stride = (_PROBE - 1) // (probe["heatmap"].shape[1] - 1)

    def preprocess(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames of 0..255 as the network takes them."""
        return tf.cast(frames, tf.float32) - tf.constant(_MEAN)

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The heads, as `MobilePoseNet` gives them.

        Args:
            images: float32 `[batch, height, width, 3]` of `preprocess`; height and width are
                multiples of the stride plus 1.
        """
        return self._run(images)


def is_resnet(graph: GraphModel) -> bool:
    """Whether the graph's backbone is a ResNet."""
    return any("resnet_v1_" in name for name in graph.nodes)


def _last(graph: GraphModel, pattern: str) -> str | None:
    """The last node with such a name: a head's convolution, or what follows it."""
    found = [name for name in graph.nodes if re.fullmatch(pattern, name)]
    return found[-1] if found else None


def _refusal(graph: GraphModel, found: str) -> InputError:
    return InputError(
        f"{graph.path} is not PoseNet with a ResNet backbone: it has {found}. "
        "`perfnet pose-weights --model=posenet_resnet50` fetches one that is."
    )
