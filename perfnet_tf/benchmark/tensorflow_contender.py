"""This package's networks, and Model Garden's `ResNet3D`, as contenders.

    python -m perfnet_tf.benchmark.tensorflow_contender '{"network": "folded", ...}'

The specification: `network`: `folded` (as `perfnet export --inference_only` writes it), `keras`
(as `perfnet train` trains it) or `model_garden`; `backbone`; `precision`: `float32` or `bfloat16`
(mixed, where it is no folded network); `training`: whether a run is a training step; `shape` of
the clip whose logits are written to the file `logits`; `weights`: those of the peer, which
`model_garden` writes and the others import, or None; `source`: how they are imported; `threads`
(0: TensorFlow's own choice); `num_classes`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from perfnet_tf.benchmark import protocol
from perfnet_tf.registry import load_plugins


def main(spec: dict[str, Any]) -> None:
    """Builds the network as `spec` says, then answers."""
    import tensorflow as tf
    import tf_keras

    if spec["threads"]:
        tf.config.threading.set_intra_op_parallelism_threads(spec["threads"])
    if spec["precision"] == "bfloat16" and spec["network"] != "folded":
        tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    tf_keras.utils.set_random_seed(0)
    network, convert = _model_garden(spec) if spec["network"] == "model_garden" else _own(spec)
    if spec["training"]:
        run = _training_step(network, convert, spec)
    else:
        call = network
        if spec["network"] != "folded":
            call = tf.function(lambda clip: network(clip, training=False), autograph=False)

        def run(clip: np.ndarray) -> np.ndarray:
            return np.asarray(call(tf.constant(convert(clip))).numpy())

        np.save(spec["logits"], run(protocol.example_clip(spec["shape"])))
    protocol.serve(run)


def build_own(spec: dict[str, Any]) -> Any:
    """This package's network of the specification, with the peer's weights where it has some."""
    from perfnet_tf.models.factory import build_model
    from perfnet_tf.models.importers import import_model

    load_plugins()  # they may have registered the backbone
    if spec["weights"] is not None:
        return import_model(spec["source"], spec["weights"]).model
    model = build_model(spec["backbone"], spec["num_classes"])
    _look_trained(model.variables)
    return model


def _own(spec: dict[str, Any]) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    from perfnet_tf.recognizers.frozen import InferenceModule

    model = build_own(spec)
    if spec["network"] == "folded":
        return InferenceModule.from_model(model, precision=spec["precision"]), lambda clip: clip
    return model, lambda clip: clip


def _model_garden(spec: dict[str, Any]) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    import tensorflow as tf
    import tf_keras
    from official.vision.modeling.backbones.resnet_3d import ResNet3D
    from official.vision.modeling.video_classification_model import VideoClassificationModel

    from perfnet_tf.models.resnet3d import TEMPORAL_KERNELS

    inputs = tf_keras.layers.InputSpec(shape=[None, None, None, None, 3])
    decay = tf_keras.regularizers.L2(0.5e-4)
    backbone = ResNet3D(
        50,
        temporal_strides=[1, 1, 1, 1],
        temporal_kernel_sizes=TEMPORAL_KERNELS["table1"],
        use_self_gating=[True] * 4,
        # Both are 2 by default, also in configurations that mean to keep every frame.
        stem_conv_temporal_stride=1,
        stem_pool_temporal_stride=1,
        input_specs=inputs,
        norm_momentum=0.9,
        norm_epsilon=1e-5,
        kernel_regularizer=decay,
    )
    model = VideoClassificationModel(
        backbone,
        num_classes=spec["num_classes"],
        input_specs={"image": inputs},
        dropout_rate=0.5,
        kernel_regularizer=decay,
    )
    _look_trained(model.variables)
    if spec["weights"] is not None:
        tf.train.Checkpoint(model=model).write(spec["weights"])

    def call(clip: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.cast(model({"image": clip}, training=training), tf.float32)

    call.trainable_variables = model.trainable_variables  # type: ignore[attr-defined]
    call.regularization = lambda: model.losses  # type: ignore[attr-defined]
    return call, lambda clip: clip * np.float32(2) - np.float32(1)


def _look_trained(variables: list[Any]) -> None:
    rng = np.random.default_rng(0)
    for variable in variables:
        variable.assign(protocol.trained_looking(variable.name, tuple(variable.shape), rng))


def _training_step(
    network: Any, convert: Callable[[np.ndarray], np.ndarray], spec: dict[str, Any]
) -> Callable[[np.ndarray], np.ndarray]:
    """Forward, backward and update of Momentum SGD, on cross-entropy and weight decay."""
    import tensorflow as tf
    import tf_keras

    optimizer = tf_keras.optimizers.SGD(1e-4, momentum=0.9)
    cross_entropy = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = getattr(network, "regularization", lambda: network.losses)

    @tf.function(autograph=False)
    def step(clip: tf.Tensor) -> tf.Tensor:
        labels = tf.range(tf.shape(clip)[0]) % spec["num_classes"]
        with tf.GradientTape() as tape:
            logits = network(clip, training=True)
            loss = cross_entropy(labels, logits) + tf.add_n(losses())
        variables = network.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return lambda clip: step(tf.constant(convert(clip))).numpy()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
