#!/usr/bin/env bash
# OpenVINO 2026.4.1 on functions of TensorFlow 2.21.0 (the CPU build) and models of tf_keras 2.21.0, in
# memory and as SavedModel.
#
# One would expect: a converted function has the outputs of the function, in their order. Seen: OpenVINO
# sorts the outputs by name, and Identity_10 is before Identity_2: of 12 endpoints, the third output is
# the eleventh. Every tensor that nobody reads becomes an output as well, sorted among the others. Of a
# network that computes an auxiliary head and returns its scores, output 0 is the auxiliary head, as
# BiasAdd is before Identity; were its last operation a Relu, output 0 would be the scores. Where
# shapes are equal, the wrong tensor goes unnoticed. Names are right: `results["Identity:0"]` is the
# first output of the function. So is a SavedModel, which is cut to its signature.
#
# Seen:
#   OpenVINO 2026.4.1, TensorFlow 2.21.0, tf_keras 2.21.0
#   12 outputs, by TensorFlow: 1 2 3 4 5 6 7 8 9 10 11 12
#   12 outputs of a function, by OpenVINO: 1 2 11 12 3 4 5 6 7 8 9 10
#   12 outputs of a tf_keras model, by OpenVINO: 1 9 10 2 11 12 3 4 5 6 7 8
#   12 outputs of a function, by name: 1 2 3 4 5 6 7 8 9 10 11 12
#   a network with a head that nobody reads, by TensorFlow: 0.20
#   the function, head ends in bias_add, by OpenVINO: 7.00 0.20; by name 0.20
#   the function, head ends in relu, by OpenVINO: 0.20 7.00; by name 0.20
#   its SavedModel, by OpenVINO: 0.20
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  tensorflow-cpu==2.21.0 tf_keras==2.21.0 openvino==2026.4.1
cd "$workspace"
TF_CPP_MIN_LOG_LEVEL=3 venv/bin/python - 2>errors.txt <<'PYTHON' || { cat errors.txt; exit 1; }
import sys

import numpy as np
import openvino
import tensorflow as tf
import tf_keras

print(f"OpenVINO {openvino.__version__.split('-')[0]}, TensorFlow {tf.__version__}, tf_keras {tf_keras.__version__}")
clip = np.ones([1, 2, 3, 4, 5], np.float32)  # [batch, frames, height, width, channels]
signature = [tf.TensorSpec(clip.shape, tf.float32, "clip")]


def run(convertible):
    """The first value of each output, in OpenVINO's order, and by name."""
    compiled = openvino.compile_model(openvino.convert_model(convertible), "CPU")
    results = compiled([clip])
    values = [round(float(results[number].flat[0]), 2) for number in range(len(compiled.outputs))]
    names = {name: value for output, value in zip(compiled.outputs, values) for name in output.names}
    return values, names


@tf.function(input_signature=signature, autograph=False)
def endpoints(clip):
    return [clip + number for number in range(12)]


inputs = tf_keras.Input(clip.shape[1:], batch_size=1)
keras_model = tf_keras.Model(inputs, [tf_keras.layers.Rescaling(1, number)(inputs) for number in range(12)])
expected = [float(tensor.numpy().flat[0]) for tensor in endpoints(clip)]
assert expected == [float(tensor.numpy().flat[0]) for tensor in keras_model(clip)]
print("12 outputs, by TensorFlow:", *(f"{value:.0f}" for value in expected))
of_function, names = run(endpoints)
print("12 outputs of a function, by OpenVINO:", *(f"{value:.0f}" for value in of_function))
of_keras, _ = run(keras_model)
print("12 outputs of a tf_keras model, by OpenVINO:", *(f"{value:.0f}" for value in of_keras))
named = [names["Identity:0" if number == 0 else f"Identity_{number}:0"] for number in range(12)]
print("12 outputs of a function, by name:", *(f"{value:.0f}" for value in named))


def network(head):
    """A classifier, and an auxiliary head that only its loss in training reads."""

    @tf.function(input_signature=signature, autograph=False)
    def classify(clip):
        features = tf.reduce_mean(clip, [1, 2, 3])
        head(2 * features)
        return tf.nn.softmax(features)

    return classify


heads = {
    "bias_add": lambda features: tf.nn.bias_add(features, [5.0] * 5),
    "relu": lambda features: tf.nn.relu(features + 5),
}
classify = network(heads["bias_add"])
tensorflow = float(classify(clip).numpy().flat[0])
print(f"a network with a head that nobody reads, by TensorFlow: {tensorflow:.2f}")
seen = {}
for name, head in heads.items():
    seen[name], names = run(network(head))
    print(f"the function, head ends in {name}, by OpenVINO:", *(f"{value:.2f}" for value in seen[name]), end="")
    print(f"; by name {names['Identity:0']:.2f}")
    seen[name].append(names["Identity:0"])
module = tf.Module()
module.classify = classify
tf.saved_model.save(module, "saved", signatures=classify)
saved, _ = run("saved")
print("its SavedModel, by OpenVINO:", *(f"{value:.2f}" for value in saved))
scrambled = [1, 2, 11, 12, 3, 4, 5, 6, 7, 8, 9, 10]
sys.exit(
    of_function != scrambled
    or of_keras == expected
    or named != expected
    or seen != {"bias_add": [7, 0.2, 0.2], "relu": [0.2, 7, 0.2]}
    or saved != [0.2]
)
PYTHON
