"""PoseNet: a convolutional network with heads for heatmaps, offsets and displacements.

Source: Papandreou et al. 2018 (PersonLab, arXiv:1803.08225), with the weights that TensorFlow.js
publishes (`posenet_network`).
"""

from __future__ import annotations

import os
from typing import Protocol

import numpy as np
import tensorflow as tf

from perfnet_tf.devices import check_device, frames_at_once, is_accelerator
from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_model import explaining_damaged_graph, read_graph_model
from perfnet_tf.pose.estimators.posenet_decoder import DecoderParams, PoseFields, decode_poses
from perfnet_tf.pose.estimators.posenet_network import PoseNet
from perfnet_tf.pose.estimators.published import weights_help
from perfnet_tf.pose.people import People, assemble_people
from perfnet_tf.video.shapes import resample

_JSON_NAMES = ("posenet.json", "model-stride16.json", "model.json")


class PoseNetwork(Protocol):
    """PoseNet with some backbone.

    Attributes:
        stride: pixels per cell of the output grid.
    """

    stride: int

    def preprocess(self, frames: tf.Tensor) -> tf.Tensor:
        """Frames of 0..255 as float32 that the network takes."""
        ...

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Float32 `[batch, height, width, 3]` of `preprocess` to the fields of `PoseFields`."""
        ...


def load_posenet(weights: str | os.PathLike[str] | None) -> PoseNetwork:
    """Reads PoseNet from a TensorFlow.js graph model.

    Args:
        weights: the folder, or its JSON file.

    Raises:
        InputError: None, no such folder, files missing or incomplete, or another model.
    """
    if weights is None:
        raise InputError(weights_help("posenet"))
    graph = read_graph_model(weights, preferred=_JSON_NAMES)
    with explaining_damaged_graph(graph.path):
        return PoseNet(graph)


_FRAMES_ON_CPU = 8
# What a frame takes of an accelerator (our choice): MobileNetV1's second layer takes 32 channels
# and gives 64, both at half the size, which is 24 float32 per pixel; it needs room to work.
_BYTES_PER_PIXEL = 4 * 64

#: Longer by shorter side of the network's input. A frame of 300x1 pixels took 23 s at its own
#: shape, and no person is seen in such a strip.
MAX_ASPECT = 36


class PoseNetEstimator:
    """Finds people with PoseNet.

    Frames are resized to about `short_side` pixels, with sides a multiple of the stride plus 1, so
    that the grid's corners are the picture's.
    """

    name = "posenet"

    def __init__(
        self,
        network: PoseNetwork,
        *,
        max_people: int = 5,
        short_side: int = 257,
        batch_size: int | None = None,
        device: str | None = None,
        params: DecoderParams | None = None,
    ) -> None:
        """Makes an estimator.

        Args:
            network: PoseNet with its weights.
            max_people: people kept in each frame.
            short_side: of the network's input, in pixels, about.
            batch_size: frames that the network is given at once; None chooses 8 on a CPU, and on an
                accelerator by the input's size (`devices.frames_at_once`).
            device: TensorFlow's name of the network's device, such as `GPU:1`; None takes the first
                accelerator, or the CPU.
            params: of the decoder; None takes the defaults.

        Raises:
            InputError: TensorFlow has no such device.
        """
        self.network = network
        self.max_people = max_people
        self.short_side = short_side
        self.batch_size = batch_size
        self.device = check_device(device)
        self.params = params or DecoderParams()
        self._functions: dict[tuple[int, int], tf.types.experimental.Callable] = {}

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None, *, max_people: int = 5
    ) -> PoseNetEstimator:
        """An estimator with weights read from a folder; see `load_posenet`."""
        return cls(load_posenet(weights), max_people=max_people)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the network's input for frames of `height` x `width`.

        The longer side is at most `MAX_ASPECT` times `short_side`: narrower frames are squeezed.
        """
        scale = self.short_side / min(height, width)
        stride = self.network.stride
        most = MAX_ASPECT * self.short_side // stride
        cells = [min(most, max(1, round((side * scale - 1) / stride))) for side in (height, width)]
        return cells[0] * stride + 1, cells[1] * stride + 1

    def __call__(self, frames: np.ndarray) -> People:
        """Finds people.

        Args:
            frames: uint8 RGB `[frames, height, width, 3]`.
        """
        height, width = self.input_size(*frames.shape[1:3])
        predict = self._function(height, width)
        poses: list[np.ndarray] = []
        at_once = self.batch_size or self._frames_at_once(height, width)
        for start in range(0, len(frames), at_once):
            batch = np.stack(
                [resize_frame(frame, height, width) for frame in frames[start : start + at_once]]
            )
            with tf.device(self.device):
                found_fields = predict(tf.constant(batch))
            outputs = {name: value.numpy() for name, value in found_fields.items()}
            for index in range(len(batch)):
                fields = PoseFields(**{name: value[index] for name, value in outputs.items()})
                found = decode_poses(fields, self.network.stride, self.max_people, self.params)
                # Pixel centres are whole numbers in the decoder and halves in [0, 1] of the frame.
                found[..., 0] = (found[..., 0] + 0.5) / width
                found[..., 1] = (found[..., 1] + 0.5) / height
                poses.append(found)
        return assemble_people(poses, self.max_people)

    def _frames_at_once(self, height: int, width: int) -> int:
        if not is_accelerator(self.device):
            return _FRAMES_ON_CPU
        return frames_at_once(_BYTES_PER_PIXEL * height * width)

    def _function(self, height: int, width: int) -> tf.types.experimental.Callable:
        """uint8 `[batch, height, width, 3]` to the fields of `PoseFields`, `[batch, ...]` each."""
        if (height, width) not in self._functions:

            @tf.function(
                input_signature=[tf.TensorSpec([None, height, width, 3], tf.uint8)],
                autograph=False,
            )
            def find(frames: tf.Tensor) -> dict[str, tf.Tensor]:
                return self.network(self.network.preprocess(frames))

            # As a function of one size: TensorFlow would warn of every fifth that it retraces.
            self._functions[height, width] = find.get_concrete_function()
        return self._functions[height, width]


def resize_frame(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes one uint8 frame: area when shrinking, so that nothing aliases, else bilinear."""
    shrinks = height * width < frame.shape[0] * frame.shape[1]
    return resample(frame, (width, height), shrinks=shrinks)
