"""An exported model that says how bright a clip is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.saved_model import export_saved_model, load_saved_model

CLASSES = ("Dark", "Bright")
FPS = 10.0


@pytest.fixture(scope="session")
def brightness_model(tmp_path_factory):
    """Eight frames (every second of 15) of 24x32 at 10 a second: `Bright` well above grey."""
    config = ExperimentConfig(clip=ClipConfig(8, 24, 32, frame_stride=2, short_side=24))
    model = build_tiny(config.model, len(CLASSES))
    # Every unit passes the mean of its inputs, which are in [-1, 1], if that is positive.
    for variable in model.unit.trainable_variables:
        if variable.shape.rank == 5:
            variable.assign(np.full(variable.shape, 1 / np.prod(variable.shape[:4]), np.float32))
    kernel = np.zeros(model.classifier.kernel.shape, np.float32)
    kernel[:, 1] = 20
    model.classifier.kernel.assign(kernel)
    model.classifier.bias.assign([0, -10])
    path = tmp_path_factory.mktemp("brightness") / "model"
    dataset = {"name": "toy", "fps": FPS, "short_side": 30}
    return load_saved_model(
        export_saved_model(model, path, classes=CLASSES, config=config, dataset=dataset)
    )


@pytest.fixture(scope="session")
def dark_then_bright(tmp_path_factory):
    """A video of 4 s at 20 frames per second, 64x48: black for 2 s, then white."""
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20, (64, 48))
    for number in range(80):
        writer.write(np.full((48, 64, 3), 250 if number >= 40 else 5, np.uint8))
    writer.release()
    return path
