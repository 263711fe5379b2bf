"""OpenVINO's intermediate representation, quantised by NNCF; needs the extra `openvino`."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import OUTPUTS
from perfnet_tf.saved_model.calibration import read_calibration
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.int8_tflite import CALIBRATION
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.streams import LOGITS


def write_int8_openvino(conversion: Conversion) -> None:
    """Writes `conversion.path` (.xml) and the .bin next to it, for one clip of `conversion.shape`.

    `frames` to `features` and `logits`, all float32. Weights take seven bits: processors without
    VNNI add products in 16 bits, which overflow with eight. Activations take the whole range that
    was measured, as LiteRT's do; NNCF's default is the mean of the clips' ranges, beyond which it
    cuts. Biases stay as they are: NNCF's correction from a few dozen clips did more harm than good.
    """
    import nncf
    import openvino
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    network = frozen_function(conversion.graph)
    spec = tf.TensorSpec(conversion.shape, tf.float32, name="frames")

    @tf.function(autograph=False, input_signature=[spec])
    def planar(frames: tf.Tensor) -> list[tf.Tensor]:
        outputs = replay_planar(network, frames)
        return [tf.identity(value, name) for value, name in zip(outputs, OUTPUTS, strict=True)]

    converted = openvino.convert_model(planar.get_concrete_function())
    # What nothing reads in the graph is an output as well for OpenVINO.
    outputs = {name: converted.output(f"{name}:0") for name in OUTPUTS}
    for name, output in outputs.items():
        output.get_tensor().set_names({name})
    results = [output.get_node() for output in outputs.values()]
    model = openvino.Model(results, converted.get_parameters(), "perfnet")
    model.inputs[0].get_tensor().set_names({"frames"})
    clips = list(read_calibration(conversion.options[CALIBRATION]))
    quantized = nncf.quantize(
        model,
        nncf.Dataset(clips),
        subset_size=len(clips),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            disable_bias_correction=True,
        ),
    )
    openvino.save_model(quantized, str(conversion.path), compress_to_fp16=False)


def open_openvino(path: pathlib.Path) -> Callable[[np.ndarray], np.ndarray]:
    """A function from float32 frames to float32 logits `[batch, classes]`."""
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU")
    return lambda frames: np.array(compiled([frames])[LOGITS])
