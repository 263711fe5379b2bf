import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models.layers import FeatureGating
from perfnet_tf.models.resnet3d import ResNet3D50


def shapes(**options):
    model = ResNet3D50(5, width_multiplier=0.25, **options)
    endpoints = model.endpoints(np.zeros((2, 9, 64, 96, 3), np.uint8))
    return {name: tuple(tensor.shape) for name, tensor in endpoints.items()}


def test_stages_read_like_table_1():
    # Table 1 at a quarter of its width: all frames stay, height and width shrink by 32.
    assert shapes() == {
        "conv1": (2, 9, 32, 48, 16),
        "pool1": (2, 9, 16, 24, 16),
        "res2": (2, 9, 16, 24, 64),
        "res3": (2, 9, 8, 12, 128),
        "res4": (2, 9, 4, 6, 256),
        "res5": (2, 9, 2, 3, 512),
        "features": (2, 512),
        "logits": (2, 5),
    }


def test_temporal_downsampling_halves_the_frames_three_times():
    frames = {name: shape[1] for name, shape in shapes(temporal_downsampling=True).items()}
    assert frames == {
        "conv1": 5, "pool1": 3, "res2": 3, "res3": 2, "res4": 2, "res5": 2,
        "features": 512, "logits": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reading", "res5"),
    [
        ("table1", [1, 3, 1]),
        ("caption", [3, 1, 3]),
        ([[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [5, 5, 1]], [5, 5, 1]),
    ],
)
def test_temporal_kernels_alternate(reading, res5):
    model = ResNet3D50(5, width_multiplier=0.25, temporal_kernels=reading).build_for_stream()
    kernels = [[cell.temporal.conv.kernel.shape[0] for cell in b.cells] for b in model.blocks]
    assert kernels == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], res5]
    assert model.conv1.conv.kernel.shape == (5, 7, 7, 3, 16)


def test_stride_is_on_the_spatial_convolution_and_the_shortcut():
    cell = ResNet3D50(5).blocks[1].cells[0]
    assert cell.temporal.conv.strides == cell.expand.conv.strides == (1, 1, 1)
    assert cell.spatial.conv.strides == cell.shortcut.conv.strides == (1, 2, 2)


@pytest.mark.parametrize(
    ("gating", "count"), [("block", 4), ("block_residual", 4), ("cell", 16), ("none", 0)]
)
def test_gates_are_where_asked(gating, count):
    model = ResNet3D50(5, gating=gating)
    assert sum(isinstance(layer, FeatureGating) for layer in model.submodules) == count


def test_block_gate_scales_the_output_of_the_block():
    clip = np.random.default_rng(0).integers(0, 256, (1, 2, 32, 40, 3), np.uint8)
    gated = ResNet3D50(5, width_multiplier=0.25).build_for_stream()
    for block in gated.blocks:
        kernel, bias = block.gating.weights
        kernel.assign(tf.zeros_like(kernel))
        bias.assign(tf.fill(bias.shape, 100.0))  # open
    plain = ResNet3D50(5, width_multiplier=0.25, gating="none").build_for_stream()
    gates = {id(v) for block in gated.blocks for v in block.gating.weights}
    plain.set_weights([v.numpy() for v in gated.weights if id(v) not in gates])
    opened, expected = gated.endpoints(clip), plain.endpoints(clip)
    np.testing.assert_allclose(opened["res5"], expected["res5"], rtol=1e-4, atol=1e-6)
    gated.blocks[3].gating.weights[1].assign(tf.zeros([2048 // 4]))  # half open
    np.testing.assert_allclose(
        gated.endpoints(clip)["res5"], expected["res5"] / 2, rtol=1e-4, atol=1e-6
    )
