import json

import pytest

from perfnet_tf.cli import models
from perfnet_tf.cli.main import main
from perfnet_tf.models.factory import build_model


def test_json_counts_every_backbone(capsys):
    assert main(["models", "--json", "--num_classes=5", "--clips=3x20x24,2x32x40"]) == 0
    networks = {network["backbone"]: network for network in json.loads(capsys.readouterr().out)}
    networks.pop("tiny", None)  # other tests' own
    assert list(networks) == ["r3d50_g", "r3d50", "s3d_g", "s3d", "i3d_g", "i3d"]
    for network in networks.values():
        assert list(network["gflops"]) == ["3x20x24", "2x32x40"]
        for clip, gmacs in network["gmacs"].items():
            assert network["gflops"][clip] == pytest.approx(2 * gmacs, abs=2e-3)
    # Features 2048 and 1024, at 600 and at 5 classes, with biases.
    assert networks["r3d50_g"]["trainable_parameters"] == 34_027_672 - 595 * 2049
    assert networks["s3d_g"]["trainable_parameters"] == 9_723_848 - 595 * 1025
    assert networks["s3d"]["options"]["gating"] == "none"


def test_table_marks_what_others_published():
    network = {
        "backbone": "r3d50_g",
        "reading": None,
        "num_classes": 600,
        "trainable_parameters": 34_027_672,
        "gmacs": {"250x256x256": 1832.656},
        "gflops": {"250x256x256": 3665.311},
        "published": models.PUBLISHED["r3d50_g"],
        "options": {"gating": "block"},
    }
    other = {
        **network,
        "reading": "caption of Table 1 to the letter",
        "gflops": {"250x256x256": 3799.5},
        "published": None,
    }
    table = models._table([network, other])
    assert "3799.5" in table.split("other readings and variants:")[1]
    assert "r3d50_g temporal_kernels=caption" in table
    assert "34.03 M" in table
    assert "3665.3 (1832.7)" in table
    assert table.index("published:") < table.index("3666 GFLOPs")
    assert "gating=block" in table


@pytest.mark.slow
def test_every_reading_is_a_network():
    for backbone, options in models.READINGS.values():
        network = build_model(backbone, 3, width_multiplier=0.1, **options)
        assert network.backbone == backbone


def test_bad_clip_is_refused_in_one_line(capsys):
    assert main(["models", "--clips=64x224"]) == 2
    assert "FRAMESxHEIGHTxWIDTH" in capsys.readouterr().err
