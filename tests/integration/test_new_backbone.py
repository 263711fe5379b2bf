"""A backbone in one file of the user's: built, trained, evaluated, exported, and predicting."""

import json
import sys

import numpy as np
import pytest
from prepared_clips import write_tiny_dataset
from small_clips import write_video

import perfnet_tf
from perfnet_tf.backbones import BACKBONES
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.registry import PLUGINS_VARIABLE, load_plugin

PLUGIN = """
import tf_keras
import perfnet_tf

class Mean(perfnet_tf.VideoModel):
    def __init__(self, num_classes, *, channels=4, **kwargs):
        super().__init__(num_classes, **kwargs)
        self.channels = channels
        self.conv = tf_keras.layers.Conv3D(channels, 3, strides=4, activation="relu")

    def feature_maps(self, inputs, training):
        return {"conv": self.conv(inputs)}

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}

perfnet_tf.register_backbone("my_net", Mean)
perfnet_tf.register_backbone("my_wide_net", Mean, channels=9)
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    path = tmp_path / "my_backbones.py"
    path.write_text(PLUGIN)
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    yield path
    sys.modules.pop(path.stem, None)
    BACKBONES.unregister("my_net")
    BACKBONES.unregister("my_wide_net")


def test_a_backbone_in_one_file_does_all_that_a_network_does(plugin, tmp_path, capsys):
    load_plugin(plugin)
    data, run = write_tiny_dataset(tmp_path / "data"), tmp_path / "run"
    config = ExperimentConfig(
        clip=ClipConfig(6, 24, 32),
        model=ModelConfig("my_net", options={"channels": 5}),
        train=TrainConfig(epochs=1, batch_size=4),
    )
    trained = perfnet_tf.train(config, data, run, progress=False)
    assert json.loads((run / "config.json").read_text())["model"]["backbone"] == "my_net"
    assert trained.model.backbone == "my_net"

    loaded = perfnet_tf.load_run(run)
    assert loaded.model.conv.kernel.shape == (3, 3, 3, 3, 5)
    np.testing.assert_array_equal(loaded.model.conv.kernel, trained.model.conv.kernel)

    assert main(["evaluate", f"--runs={run}", f"--data={data}", f"--output={tmp_path / 'e'}"]) == 0
    export = tmp_path / "export"
    assert main(["export", f"--run={run}", f"--output={export}"]) == 0
    video = tmp_path / "video.mp4"
    write_video(video, frames=12)
    capsys.readouterr()
    assert main(["predict", f"--model={export}", str(video), "--json"]) == 0
    assert "video.mp4" in capsys.readouterr().out


def test_a_backbone_trains_by_name_from_the_command_line(plugin, tmp_path):
    data = write_tiny_dataset(tmp_path / "data")
    flags = ["--stream=rgb", "--clip=6x24x32", "--epochs=1", "--batch=4", "--noprogress"]
    command = ["train", f"--data={data}", f"--output={tmp_path / 'run'}", *flags]
    assert main([*command, "--backbone=my_wide_net", f"--plugin={plugin}"]) == 0
    assert perfnet_tf.load_run(tmp_path / "run").model.channels == 9


def test_its_name_fixes_arguments_and_its_class_lists_options(plugin):
    load_plugin(plugin)
    assert perfnet_tf.build_model("my_wide_net", 3).channels == 9
    with pytest.raises(InputError, match=r"my_wide_net is channels=9.*Take my_net\."):
        perfnet_tf.build_model("my_wide_net", 3, channels=4)
    with pytest.raises(InputError, match=r"my_net must be one of .*channels.*'channel'"):
        perfnet_tf.build_model("my_net", 3, channel=4)


@pytest.mark.parametrize(
    ("name", "cls", "fixed", "message"),
    [
        ("s3d_g", "a:B", {}, "exists"),
        ("My-Net", "a:B", {}, "lower-case"),
        ("other_net", 3, {}, "is a class"),
        ("other_net", "a:B", {"dropout_rate": 0.5}, "dropout_rate"),
    ],
)
def test_refuses_what_is_no_backbone(name, cls, fixed, message):
    with pytest.raises(InputError, match=message):
        perfnet_tf.register_backbone(name, cls, **fixed)


@pytest.mark.parametrize(
    ("cls", "message"), [("no_module:Net", "import path"), (dict, "subclass of VideoModel")]
)
def test_building_names_a_class_that_is_no_network(cls, message):
    perfnet_tf.register_backbone("broken_net", cls)
    try:
        with pytest.raises(InputError, match=message):
            perfnet_tf.build_model("broken_net", 3)
    finally:
        BACKBONES.unregister("broken_net")
