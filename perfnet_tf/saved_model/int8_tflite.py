"""Fully quantised TFLite files: 8-bit weights per channel, 8-bit activations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import OUTPUTS
from perfnet_tf.saved_model.calibration import read_calibration
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.saved_model.quantization import find_values, measure_ranges, replay_quantized
from perfnet_tf.saved_model.tflite import refuse_other_sizes

#: Option of a `Conversion`: the file of `write_calibration`.
CALIBRATION = "calibration"


def write_int8_tflite(conversion: Conversion) -> None:
    """Writes a fully quantised TFLite file for one clip of `conversion.shape`.

    Its signature is that of `write_tflite`, float32 in and out: it centres frames in float and then
    rounds them. The classifier is left in float, which costs nothing and keeps the logits whole.

    Args:
        conversion: with the option `CALIBRATION`.
    """
    spec = tf.TensorSpec(conversion.shape, tf.float32, name="frames")
    network = frozen_function(conversion.graph)

    @tf.function(autograph=False, input_signature=[spec])
    def planar(frames: tf.Tensor) -> list[tf.Tensor]:
        return replay_planar(network, frames)

    concrete = planar.get_concrete_function()
    values = find_values(concrete)
    clips = read_calibration(conversion.options[CALIBRATION])
    ranges = measure_ranges(concrete, values, clips)
    conversion.path.write_bytes(_converter(concrete, spec, ranges).convert())


def _converter(planar: Any, spec: tf.TensorSpec, ranges: dict[str, tuple[float, float]]) -> Any:
    module = tf.Module()

    @tf.function(autograph=False, input_signature=[spec])
    def serve(frames: tf.Tensor) -> dict[str, tf.Tensor]:
        frames = refuse_other_sizes(frames, spec.shape.as_list())
        return dict(zip(OUTPUTS, replay_quantized(planar, frames, ranges), strict=True))

    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve.get_concrete_function()], module
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter
