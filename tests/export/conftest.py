"""Small networks of both backbones, exported, and real clips to fine-tune them on."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.saved_model import export_saved_model
from perfnet_tf.video.decode import read_video

SCRIPTS = pathlib.Path(__file__).parents[2] / "export"
CLASSES = ("JumpingJack", "Punch", "PushUps")


def load_script(name):
    """A file of `export/` as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def keras3_layer():
    return load_script("keras3_layer").RecognizerLayer


@pytest.fixture(scope="session")
def package_for_hub():
    return load_script("package_for_hub")


#: The real backbones take half a minute each to be traced as often as it takes.
NETWORKS = ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("s3d_g", "i3d", "r3d50_g"))]


def build(name):
    """A network and its configuration; the same weights at each call."""
    # Without dropout, so that every way of training it takes the same steps.
    network = ModelConfig(
        "s3d_g" if name == "tiny" else name,
        width_multiplier=0.0625,
        dropout_rate=0.0,
        weight_decay=1e-3,
    )
    tf_keras.utils.set_random_seed(0)
    make = build_tiny if name == "tiny" else build_from_config
    return make(network, len(CLASSES)), ExperimentConfig(clip=ClipConfig(8, 48, 64), model=network)


@pytest.fixture(scope="session", params=NETWORKS)
def network_name(request):
    return request.param


@pytest.fixture(scope="session")
def exported(network_name, tmp_path_factory):
    """(Keras model, folder of its export), read only."""
    model, config = build(network_name)
    folder = tmp_path_factory.mktemp(network_name) / "model"
    return model, str(export_saved_model(model, folder, classes=CLASSES, config=config))


@pytest.fixture
def fresh_model(network_name):
    """The exported network once more, to be trained."""
    return build(network_name)[0]


@pytest.fixture(scope="session")
def real_clips(real_data):
    """(float32 [6, 8, 48, 64, 3] in [0, 1], int32 [6]): two UCF-101 clips of each class."""
    clips, labels = [], []
    for label, name in enumerate(CLASSES):
        for path in sorted((real_data / "videos" / "ucf101_8class" / name).glob("*.avi"))[:2]:
            frames = read_video(path, fps=8, short_side=48, max_frames=8).frames
            clips.append(frames[:, :, :64])
            labels.append(label)
    return np.stack(clips) / np.float32(255), np.array(labels, np.int32)
