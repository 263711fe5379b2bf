"""Frozen networks as TFLite files."""

from __future__ import annotations

import hashlib
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import (
    INPUT,
    OUTPUTS,
    FrozenGraph,
    output_name,
    with_weights_apart,
)
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.streams import LOGITS

#: What weights are stored as. `int8` is dynamic-range: activations are quantised as they come.
TFLITE_WEIGHTS = ("float32", "float16", "int8")
_LOWEST = -1e30


def write_tflite(conversion: Conversion, *, weights: str) -> None:
    """Writes a TFLite file with a signature for each shape, over the same weights.

    A signature (see `signature_names`) takes `frames`, float32 of its shape, and gives `logits` and
    `features`. Every operation is 2-D: TFLite's Conv3D is neither quantised nor accelerated.

    Args:
        conversion: network, shapes and file.
        weights: one of `TFLITE_WEIGHTS`.
    """
    with tempfile.TemporaryDirectory() as folder:
        # By way of a file: of a graph with constants the converter keeps ten copies and more.
        _save_planar(frozen_function(conversion.graph), conversion.shapes, folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=signature_names(conversion.shapes)
        )
        if weights != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if weights == "float16":
            converter.target_spec.supported_types = [tf.float16]
        conversion.path.write_bytes(converter.convert())


def signature_names(shapes: Sequence[Sequence[int]]) -> list[str]:
    """Of each shape `[batch, frames, height, width, channels]`, in their order.

    The first is `serving_default`, another one `clip_FRAMESxHEIGHTxWIDTH`.
    """
    return ["serving_default", *(f"clip_{'x'.join(map(str, shape[1:4]))}" for shape in shapes[1:])]


def open_tflite(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 frames to a file's float32 logits `[batch, classes]`.

    It calls the signature of the frames' shape.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter has moved to its own package
        interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    runners = [interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()]
    of_shape = {tuple(runner.get_input_details()["frames"]["shape"]): runner for runner in runners}
    return lambda frames: np.asarray(of_shape[frames.shape](frames=frames)[LOGITS])


def _save_planar(network: Any, shapes: Sequence[Sequence[int]], folder: str) -> None:
    """Writes a SavedModel with a signature for each shape, its weights variables.

    Args:
        network: what `frozen_function` gave.
        shapes: see `Conversion`.
        folder: exists.
    """
    module = tf.Module()
    weights: dict[bytes, tf.Variable] = {}  # shapes share what is equal
    signatures = {}
    for name, shape in zip(signature_names(shapes), shapes, strict=True):
        frozen = _planar_graph(network, shape)
        variables = {}
        for weight, value in frozen.weights.items():
            array = value.numpy()
            digest = hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest()
            if digest not in weights:
                weights[digest] = tf.Variable(value, trainable=False)
            variables[weight] = weights[digest]
        signatures[name] = _serve(FrozenGraph(frozen.graph, {}), shape, variables)
    module.weights = [*weights.values()]
    tf.saved_model.save(module, os.fspath(folder), signatures)


def _planar_graph(network: Any, shape: Sequence[int]) -> FrozenGraph:
    with tf.Graph().as_default() as graph:
        frames = refuse_other_sizes(tf.compat.v1.placeholder(tf.float32, shape, INPUT), shape)
        for name, output in zip(OUTPUTS, replay_planar(network, frames), strict=True):
            tf.identity(output, name=output_name(name))
    return with_weights_apart(graph.as_graph_def())


def refuse_other_sizes(frames: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """The frames; of another number or size, resizing the file's input fails.

    Otherwise interpreters cut what is too much off in silence, and answer for a part of the clip,
    or take an upright clip for a lying one. The reshapes fail if there are more or fewer values;
    the comparison before, which changes nothing, if as many are of other sizes. The one between
    keeps both reshapes in the file.
    """
    batch, num_frames, *picture = shape
    frames = tf.maximum(frames, tf.fill([1, num_frames, picture[0], 1, 1], _LOWEST))
    rows = tf.reshape(frames, [batch * num_frames, int(np.prod(picture))])
    return tf.reshape(tf.maximum(rows, _LOWEST), shape)


def _serve(network: FrozenGraph, shape: Sequence[int], variables: dict[str, tf.Variable]) -> Any:
    @tf.function(autograph=False)
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {name: variable.read_value() for name, variable in variables.items()}
        return dict(zip(OUTPUTS, network.call(frames, values), strict=True))

    return serve.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="frames"))
