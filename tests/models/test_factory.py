import numpy as np
import pytest

from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config, build_model, list_options
from perfnet_tf.models.resnet3d import ResNet3D50
from perfnet_tf.models.s3d import S3D


def test_configuration_reaches_the_network():
    config = ModelConfig(
        "s3d_g",
        width_multiplier=0.1,
        dropout_rate=0.2,
        weight_decay=0.0,
        options={"gating": "cell", "stem_temporal_kernel": 7},
    )
    model = build_from_config(config, 5, "flow")
    assert isinstance(model, S3D)
    assert model.built
    assert (model.num_classes, model.stream, model.gating) == (5, "flow", "cell")
    assert (model.width_multiplier, model.dropout_rate, model.weight_decay) == (0.1, 0.2, 0.0)
    assert model.stages["Conv2d_1a_7x7"].conv.kernel.shape == (7, 7, 7, 2, 16)


def test_backbone_names_say_whether_features_are_gated():
    assert build_model("r3d50", 5, width_multiplier=0.1).gating == "none"
    assert list_options("s3d")["gating"] == "none"
    assert list_options("r3d50_g")["gating"] == "block"
    assert list_options("i3d")["gating"] == "none"


def test_a_backbone_starts_from_its_own_defaults_which_options_change():
    defaults = {"stem_temporal_kernel": 7, "head": "windows", "neutral_gates": True}
    assert defaults.items() <= list_options("i3d_g").items()
    assert list_options("s3d_g")["stem_temporal_kernel"] == 3
    model = build_model("i3d_g", 5, width_multiplier=0.1, head="mean")
    assert (model.backbone, model.head, model.stem_temporal_kernel) == ("i3d_g", "mean", 7)


def test_first_loss_is_that_of_a_guess():
    model = build_model("s3d_g", 5, width_multiplier=0.25)
    clip = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 40, 3), np.uint8)
    assert np.abs(model(clip, training=True)).max() < 0.5


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        ("r3d_50", {}, "Did you mean 'r3d50'"),
        ("s3d_g", {"gate": "cell"}, "gating"),
        ("s3d_g", {"gating": "block"}, "branch, cell, none"),
        ("s3d_g", {"gating": "none"}, "Take s3d"),
        ("r3d50", {"gating": "cell"}, "Take r3d50_g"),
        ("s3d_g", {"kernels": "full"}, "Take i3d_g"),
        ("s3d", {"kernels": "full"}, "Take i3d"),
        ("i3d", {"kernels": "separable"}, "Take s3d"),
        ("i3d", {"gating": "branch"}, "Take i3d_g"),
        ("i3d_g", {"gating": "none"}, "Take i3d"),
        ("i3d", {"separable_stem": True}, "separable kernels"),
        ("s3d_g", {"head": "max"}, "frame_pairs, windows, mean"),
        ("s3d_g", {"stem_temporal_kernel": 4}, "odd"),
        ("r3d50_g", {"stem_temporal_kernel": 0}, "> 0"),
        ("r3d50_g", {"temporal_kernels": "paper"}, "table1, caption"),
        ("r3d50_g", {"temporal_kernels": [[3], [3], [3], [3]]}, "[3, 4, 6, 3]"),
        ("r3d50_g", {"width_multiplier": 0}, "width_multiplier"),
        ("r3d50_g", {"dropout_rate": 1.0}, "[0, 1)"),
        ("r3d50_g", {"weight_decay": -1.0}, "weight_decay"),
        ("r3d50_g", {"batch_norm_epsilon": 0.0}, "batch_norm_epsilon"),
    ],
)
def test_refuses_what_it_cannot_build(backbone, options, message):
    with pytest.raises(InputError) as error:
        build_model(backbone, 5, **options)
    assert message in str(error.value)
    assert "Received" in str(error.value)


@pytest.mark.parametrize("num_classes", [0, 2.0, "5"])
def test_refuses_an_impossible_number_of_classes(num_classes):
    with pytest.raises(InputError, match="num_classes"):
        ResNet3D50(num_classes)


def test_refuses_an_unknown_stream():
    with pytest.raises(InputError, match="rgb, flow, pose"):
        S3D(5, stream="depth")
