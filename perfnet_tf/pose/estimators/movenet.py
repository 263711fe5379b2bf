"""MoveNet MultiPose: up to six people per frame, also lying or upside down.

Source: Google's MoveNet MultiPose Lightning v1, as TensorFlow.js graph model or as SavedModel. The
network decodes by itself: boxes by object centres, keypoints by offsets from them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from perfnet_tf.devices import check_device
from perfnet_tf.errors import InputError
from perfnet_tf.pose.estimators.graph_function import graph_function
from perfnet_tf.pose.estimators.graph_model import (
    GraphModel,
    explaining_damaged_graph,
    read_graph_model,
)
from perfnet_tf.pose.estimators.published import weights_help
from perfnet_tf.pose.people import People, assemble_people
from perfnet_tf.streams import NUM_KEYPOINTS
from perfnet_tf.video.shapes import resample

_JSON_NAMES = ("movenet-multipose.json", "model.json")
#: Numbers per person: y, x, score of 17 keypoints; y_min, x_min, y_max, x_max and score of the box.
_OUTPUT_CHANNELS = NUM_KEYPOINTS * 3 + 5
_MAX_PEOPLE = 6
_STRIDE = 32


class MoveNet(Protocol):
    """The network: int32 RGB `[1, height, width, 3]` to float32 `[1, 6, 56]`."""

    def at(self, height: int, width: int) -> tf.types.experimental.Callable:
        """A graph function for pictures of this size, multiples of 32."""
        ...


class GraphMoveNet:
    """MoveNet MultiPose from a TensorFlow.js graph model."""

    def __init__(self, graph: GraphModel) -> None:
        """Finds where frames go in and people come out.

        Raises:
            InputError: the graph is not MoveNet MultiPose.
        """
        self._graph = graph
        self._feed, self._fetch = _ends(graph)

    def at(self, height: int, width: int) -> tf.types.experimental.Callable:
        """See `MoveNet`; the graph's own size is replaced, so that its constants fold away."""
        with explaining_damaged_graph(self._graph.path):
            run = graph_function(
                self._graph, self._feed, {"people": self._fetch}, [1, height, width, 3]
            )
        return lambda frames: run(frames)["people"]


class SavedMoveNet:
    """MoveNet MultiPose from a SavedModel, as TF Hub and Kaggle serve it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Loads it.

        Raises:
            InputError: no SavedModel, or another network's.
        """
        try:
            loaded = tf.saved_model.load(os.fspath(path))
            signature = loaded.signatures["serving_default"]
            ((self._input, feed),) = signature.structured_input_signature[1].items()
            ((self._output, fetch),) = signature.structured_outputs.items()
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is not MoveNet MultiPose's SavedModel: {error}") from error
        if feed.dtype != tf.int32 or fetch.shape[-1] != _OUTPUT_CHANNELS:
            raise InputError(
                f"{path} is not MoveNet MultiPose's SavedModel: it must take one int32 picture and "
                f"give {_OUTPUT_CHANNELS} numbers a person."
            )
        self._loaded = loaded  # a signature does not keep its variables alive
        self._signature = signature

    def at(self, height: int, width: int) -> tf.types.experimental.Callable:
        """See `MoveNet`."""
        return lambda frames: self._signature(**{self._input: frames})[self._output]


class MoveNetEstimator:
    """Finds up to six people with MoveNet MultiPose.

    Frames are resized so that the longer side has `long_side` pixels, and padded with black at
    right and bottom to a multiple of 32. The published network takes one frame at a time; a batch
    is one call of a graph that loops over it.
    """

    name = "movenet"

    def __init__(
        self,
        network: MoveNet,
        *,
        max_people: int = 5,
        long_side: int = 256,
        min_pose_score: float = 0.15,
        batch_size: int = 16,
        device: str | None = None,
    ) -> None:
        """Makes an estimator.

        Args:
            network: MoveNet with its weights.
            max_people: people kept in each frame; the network finds six at most.
            long_side: of the network's input, in pixels; a multiple of 32 (256: Google's advice).
            min_pose_score: people below it are dropped. TensorFlow.js' default of 0.25 loses a
                fifth of the frames of blurred clips; at 0.1 phantoms appear.
            batch_size: frames in one call, which holds one of them in the network at a time.
            device: TensorFlow's name of the network's device, such as `GPU:1`; None takes the first
                accelerator, or the CPU.

        Raises:
            InputError: `long_side` is no multiple of 32, or TensorFlow has no such device.
        """
        if long_side < _STRIDE or long_side % _STRIDE:
            raise InputError(f"long_side must be a multiple of {_STRIDE}. Received: {long_side}.")
        self.max_people = max_people
        self.long_side = long_side
        self.min_pose_score = min_pose_score
        self.batch_size = batch_size
        self.device = check_device(device)
        self._network = network
        self._functions: dict[tuple[int, int], tf.types.experimental.Callable] = {}

    @classmethod
    def load(
        cls, weights: str | os.PathLike[str] | None, *, max_people: int = 5
    ) -> MoveNetEstimator:
        """Reads the TensorFlow.js graph model, or the SavedModel, in a folder.

        Raises:
            InputError: None, no such folder, files missing or incomplete, or another model.
        """
        if weights is None:
            raise InputError(weights_help("movenet"))
        if (Path(weights) / "saved_model.pb").is_file():
            return cls(SavedMoveNet(weights), max_people=max_people)
        graph = read_graph_model(weights, preferred=_JSON_NAMES)
        return cls(GraphMoveNet(graph), max_people=max_people)

    def __call__(self, frames: np.ndarray) -> People:
        """Finds people.

        Args:
            frames: uint8 RGB `[frames, height, width, 3]`.
        """
        scale = self.long_side / max(frames.shape[1:3])
        height, width = (max(1, round(side * scale)) for side in frames.shape[1:3])
        padded_height, padded_width = (-(-side // _STRIDE) * _STRIDE for side in (height, width))
        find = self._function(padded_height, padded_width)
        # From shares of the padded picture, y first, to shares of the frame, x first.
        share = np.array([padded_width / width, padded_height / height, 1.0], np.float32)
        poses: list[np.ndarray] = []
        for start in range(0, len(frames), self.batch_size):
            chunk = frames[start : start + self.batch_size]
            batch = np.zeros((len(chunk), padded_height, padded_width, 3), np.int32)
            for index, frame in enumerate(chunk):
                resized = resample(frame, (width, height), shrinks=scale < 1)
                batch[index, :height, :width] = resized
            with tf.device(self.device):
                all_people = find(tf.constant(batch))
            for people in all_people.numpy():  # [6, 56]
                people = people[people[:, -1] >= self.min_pose_score]
                people = people[np.argsort(-people[:, -1], kind="stable")]
                keypoints = people[:, : NUM_KEYPOINTS * 3].reshape(-1, NUM_KEYPOINTS, 3)
                poses.append(keypoints[..., [1, 0, 2]] * share)
        return assemble_people(poses, self.max_people)

    def _function(self, height: int, width: int) -> tf.types.experimental.Callable:
        """int32 `[batch, height, width, 3]` to float32 `[batch, 6, 56]`."""
        if (height, width) not in self._functions:
            run = self._network.at(height, width)
            people = tf.TensorSpec([_MAX_PEOPLE, _OUTPUT_CHANNELS], tf.float32)

            frames_spec = tf.TensorSpec([None, height, width, 3], tf.int32)

            @tf.function(input_signature=[frames_spec], autograph=False)
            def find(frames: tf.Tensor) -> tf.Tensor:
                return tf.map_fn(
                    lambda frame: tf.ensure_shape(run(frame[None])[0], people.shape),
                    frames,
                    fn_output_signature=people,
                )

            # As a function of one size: TensorFlow would warn of every fifth that it retraces.
            self._functions[height, width] = find.get_concrete_function()
        return self._functions[height, width]


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
        f"{_OUTPUT_CHANNELS} numbers a person. `perfnet pose-weights --model=movenet_multipose` "
        "fetches one that does."
    )
