"""One tiny RGB network in each form that `perfnet_tf.load` takes."""

from __future__ import annotations

import pathlib
from typing import Any

import tensorflow as tf
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig, TrainConfig
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.saved_model import export_saved_model

CLASSES = ("class0", "class1", "class2")
CLIP = ClipConfig(6, 24, 32, short_side=28)
CONFIG = ExperimentConfig(clip=CLIP, train=TrainConfig(epochs=1, batch_size=4))


class PlainNetwork(tf.Module):
    """Someone's network: the mean of each colour of float32 frames."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 3])])
    def __call__(self, frames: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(frames, axis=[1, 2, 3])


def brightness(frames: tf.Tensor) -> tf.Tensor:
    """A function of frames of any dtype."""
    return tf.reduce_mean(tf.cast(frames, tf.float32), axis=[1, 2, 3])


def write_networks(folder: pathlib.Path) -> dict[str, Any]:
    """Kind -> the folder of a network, or the network itself, with classes `CLASSES`."""
    tf_keras.utils.set_random_seed(0)
    model = build_tiny(CONFIG.model, len(CLASSES))
    dataset = {"name": "tiny", "fps": 25.0, "short_side": 36}
    run = save_run(folder / "run", CONFIG, CLASSES, model, dataset=dataset)
    export_saved_model(run, folder / "export")
    export_saved_model(run, folder / "frozen", inference_only=True)
    tf.saved_model.save(PlainNetwork(), str(folder / "plain"))
    keras = tf_keras.Sequential(
        [
            tf_keras.layers.Rescaling(1 / 255, input_shape=(None, None, None, 3)),
            tf_keras.layers.GlobalAveragePooling3D(),
            tf_keras.layers.Dense(len(CLASSES)),
        ]
    )
    paths = {kind: str(folder / kind) for kind in ("run", "export", "frozen", "plain")}
    return {**paths, "Keras model": keras, "function": brightness}
