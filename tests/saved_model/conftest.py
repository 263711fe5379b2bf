"""A network of three convolutions with the interface of the package's own: quick to export."""

from __future__ import annotations

import pytest
import tensorflow as tf
import tf_keras
from trained_looking import give_statistics

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.models.layers import kernel_decay
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.saved_model import export_saved_model

CLASSES = ("Clapping", "Jumping", "Running")
CONFIG = ExperimentConfig(
    clip=ClipConfig(8, 64, 64), model=ModelConfig("s3d_g", width_multiplier=0.125)
)


class SmallVideoModel(VideoModel):
    """Batch norm, convolutions held in a list, the package's own normalisation and head."""

    backbone = "small"

    def __init__(self, stream="rgb"):
        super().__init__(len(CLASSES), stream=stream, weight_decay=0.01)
        self.stages = [
            tf_keras.layers.Conv3D(
                channels,
                (3, 3, 5),
                2,
                "same",
                use_bias=channels < 7,
                kernel_regularizer=kernel_decay(0.01),
            )
            for channels in (5, 6, 7)
        ]
        self.norm = tf_keras.layers.BatchNormalization(momentum=0.9)

    def feature_maps(self, inputs, training):
        net, maps = inputs, {}
        for index, stage in enumerate(self.stages):
            net = maps[f"stage{index}"] = stage(net)
        maps["norm"] = self.norm(net, training=training)
        return maps


@pytest.fixture(scope="session")
def config():
    return CONFIG


@pytest.fixture(scope="session")
def trained_looking():
    """The function that makes a fresh model look trained."""
    return give_statistics


@pytest.fixture(scope="session")
def small_model():
    tf_keras.utils.set_random_seed(0)
    model = give_statistics(SmallVideoModel().build_for_stream())
    kernel = model.classifier.kernel
    kernel.assign(tf.random.normal(kernel.shape, seed=0))  # features are small
    return model


@pytest.fixture(scope="session")
def exported(small_model, tmp_path_factory):
    """The folder of the small model's export; read only."""
    path = tmp_path_factory.mktemp("export") / "model"
    return export_saved_model(
        small_model,
        path,
        classes=CLASSES,
        config=CONFIG,
        dataset={"name": "toy", "fps": 12.5, "short_side": 72},
        metrics={"top1": 0.5, "num_clips": 10},
    )
