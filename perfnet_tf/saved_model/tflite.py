"""Frozen networks as TFLite files."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import OUTPUTS
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.streams import LOGITS

#: What weights are stored as. `int8` is dynamic-range: activations are quantised as they come.
TFLITE_WEIGHTS = ("float32", "float16", "int8")


def write_tflite(conversion: Conversion, *, weights: str) -> None:
    """Writes a TFLite file for one clip of `conversion.shape`.

    Its signature `serving_default` takes `frames`, float32 of that shape, and gives `logits` and
    `features`. Every operation is 2-D: TFLite's Conv3D is neither quantised nor accelerated.

    Args:
        conversion: network, shape and file.
        weights: one of `TFLITE_WEIGHTS`.
    """
    converter = planar_converter(frozen_function(conversion.graph), conversion.shape)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    conversion.path.write_bytes(converter.convert())


def planar_converter(network: Any, shape: Sequence[int]) -> Any:
    """A `TFLiteConverter` of a frozen float32 network in 2-D operations, at one shape.

    Args:
        network: what `frozen_function` gave.
        shape: `[batch, frames, height, width, channels]`; TFLite models are fast at one size only.
    """
    module = tf.Module()

    @tf.function(autograph=False)
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        return dict(zip(OUTPUTS, replay_planar(network, frames), strict=True))

    module.serve = serve
    concrete = serve.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="frames"))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)


def open_tflite(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 frames to the float32 logits `[batch, classes]` of a TFLite file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter has moved to its own package
        interpreter = tf.lite.Interpreter(str(path), num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner()
    return lambda frames: np.asarray(runner(frames=frames)[LOGITS])
