import models_numpy as reference
import numpy as np
import pytest

from perfnet_tf.models.factory import build_model
from perfnet_tf.models.inception_cells import STAGES, InceptionCell
from perfnet_tf.models.layers import FeatureGating
from perfnet_tf.models.s3d import S3D


def test_endpoints_carry_slims_names_and_shapes():
    model = S3D(5, width_multiplier=0.25)
    endpoints = model.endpoints(np.zeros((2, 24, 64, 96, 3), np.uint8))
    assert {name: tuple(tensor.shape) for name, tensor in endpoints.items()} == {
        "Conv2d_1a_7x7": (2, 12, 32, 48, 16),
        "MaxPool_2a_3x3": (2, 12, 16, 24, 16),
        "Conv2d_2b_1x1": (2, 12, 16, 24, 16),
        "Conv2d_2c_3x3": (2, 12, 16, 24, 48),
        "MaxPool_3a_3x3": (2, 12, 8, 12, 48),
        "Mixed_3b": (2, 12, 8, 12, 16 + 32 + 16 + 16),
        "Mixed_3c": (2, 12, 8, 12, 32 + 48 + 24 + 16),
        "MaxPool_4a_3x3": (2, 6, 4, 6, 120),
        "Mixed_4b": (2, 6, 4, 6, 48 + 52 + 16 + 16),
        "Mixed_4c": (2, 6, 4, 6, 40 + 56 + 16 + 16),
        "Mixed_4d": (2, 6, 4, 6, 32 + 64 + 16 + 16),
        "Mixed_4e": (2, 6, 4, 6, 28 + 72 + 16 + 16),
        "Mixed_4f": (2, 6, 4, 6, 64 + 80 + 32 + 32),
        "MaxPool_5a_2x2": (2, 3, 2, 3, 208),
        "Mixed_5b": (2, 3, 2, 3, 64 + 80 + 32 + 32),
        "Mixed_5c": (2, 3, 2, 3, 96 + 96 + 32 + 32),
        "features": (2, 256),
        "logits": (2, 5),
    }


def conv(unit, inputs):
    kernel = unit.conv.kernel.numpy()
    if unit.norm is None:
        return reference.relu(reference.conv3d(inputs, kernel, bias=unit.conv.bias.numpy()))
    beta, mean, variance = (w.numpy() for w in unit.norm.weights)
    outputs = reference.conv3d(inputs, kernel)
    return reference.relu(reference.batch_norm(outputs, mean, variance, beta))


def test_inception_cell_equals_the_slow_reference():
    model = S3D(5, width_multiplier=0.25)
    cell = model.stages["Mixed_3b"]
    assert isinstance(cell, InceptionCell)
    video = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 6)).astype(np.float32)
    cell(video)
    rng = np.random.default_rng(2)
    cell.set_weights(
        [rng.uniform(0.1, 1, w.shape) - 0.4 * (len(w.shape) > 1) for w in cell.weights]
    )

    def gate(layer, inputs):
        return reference.feature_gating(inputs, *[w.numpy() for w in layer.weights])

    branch0, branch1, branch2, branch3 = (branch.layers for branch in cell.branches)
    expected = [gate(branch0[1], conv(branch0[0], video))]
    for reduce, spatial, temporal, gating in (branch1, branch2):
        expected.append(gate(gating, conv(temporal, conv(spatial, conv(reduce, video)))))
    pooled = reference.max_pool3d(video, (3, 3, 3), (1, 1, 1))
    expected.append(gate(branch3[2], conv(branch3[1], pooled)))
    np.testing.assert_allclose(cell(video), np.concatenate(expected, -1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_head_equals_slims_pooling_of_two_frames(frames):
    model = S3D(5).build_for_stream()
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2, frames, 3, 4, 1024)).astype(np.float32)
    kernel, bias = model.classifier.get_weights()
    expected = reference.frame_pair_logits(features, kernel, bias)
    steps = model.pool(features)
    assert steps.shape == (2, max(frames - 1, 1), 1024)
    np.testing.assert_allclose(
        np.mean(steps, axis=1) @ kernel + bias, expected, rtol=1e-3, atol=1e-5
    )


def test_inner_frames_weigh_twice_as_much_as_the_ends():
    features = np.zeros((1, 5, 1, 1, 5), np.float32)
    features[0, range(5), 0, 0, range(5)] = 8  # channel i sees frame i
    pairs, mean = S3D(5), S3D(5, head="mean")
    np.testing.assert_allclose(np.mean(pairs.pool(features), axis=1)[0], [1, 2, 2, 2, 1])
    np.testing.assert_allclose(np.mean(mean.pool(features), axis=1)[0], [1.6] * 5)


def test_temporal_convolutions_start_as_the_identity_with_bias_and_without_batch_norm():
    unit = S3D(5).build_for_stream().stages["Conv2d_2c_3x3"].layers[1]
    assert unit.norm is None
    np.testing.assert_array_equal(unit.conv.kernel[1, 0, 0], np.eye(192))
    np.testing.assert_array_equal(unit.conv.kernel[::2], np.zeros((2, 1, 1, 192, 192)))
    np.testing.assert_array_equal(unit.conv.bias, np.zeros(192))


@pytest.mark.parametrize(("gating", "count"), [("branch", 37), ("cell", 10), ("none", 0)])
def test_gates_are_where_asked(gating, count):
    # After the third convolution, then on 4 branches of 9 cells, or on 9 cells.
    gates = [g for g in S3D(5, gating=gating).submodules if isinstance(g, FeatureGating)]
    assert len(gates) == count
    assert not any(gate.use_bias for gate in gates)


def test_batch_norms_have_slims_constants_and_no_scale():
    norm = S3D(5).stages["Conv2d_1a_7x7"].norm
    assert (norm.momentum, norm.epsilon, norm.scale) == (0.999, 1e-3, False)


def test_nine_inception_cells():
    assert sum(name.startswith("Mixed") for name in STAGES) == 9


def test_i3ds_endpoints_carry_kinetics_i3ds_names():
    endpoints = build_model("i3d", 5, width_multiplier=0.25).endpoints(
        np.zeros((2, 24, 64, 96, 3), np.uint8)
    )
    shapes = {name: tuple(tensor.shape) for name, tensor in endpoints.items()}
    assert list(shapes) == [
        "Conv3d_1a_7x7", "MaxPool3d_2a_3x3", "Conv3d_2b_1x1", "Conv3d_2c_3x3", "MaxPool3d_3a_3x3",
        "Mixed_3b", "Mixed_3c", "MaxPool3d_4a_3x3", "Mixed_4b", "Mixed_4c", "Mixed_4d", "Mixed_4e",
        "Mixed_4f", "MaxPool3d_5a_2x2", "Mixed_5b", "Mixed_5c", "features", "logits",
    ]  # fmt: skip
    assert shapes["Conv3d_1a_7x7"] == (2, 12, 32, 48, 16)
    assert shapes["Conv3d_2c_3x3"] == (2, 12, 16, 24, 48)
    assert shapes["MaxPool3d_4a_3x3"] == (2, 6, 4, 6, 120)
    assert shapes["Mixed_5c"] == (2, 3, 2, 3, 256)


def test_i3ds_cell_equals_the_slow_reference():
    cell = build_model("i3d", 5, width_multiplier=0.25).stages["Mixed_3b"]
    video = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 48)).astype(np.float32)
    rng = np.random.default_rng(2)
    cell.set_weights(
        [rng.uniform(0.1, 1, w.shape) - 0.4 * (len(w.shape) > 1) for w in cell.weights]
    )
    branch0, branch1, branch2, branch3 = (branch.layers for branch in cell.branches)
    assert branch1[1].conv.kernel.shape == (3, 3, 3, 24, 32)
    expected = [conv(branch0[0], video)]
    expected += [conv(branch[1], conv(branch[0], video)) for branch in (branch1, branch2)]
    expected.append(conv(branch3[1], reference.max_pool3d(video, (3, 3, 3), (1, 1, 1))))
    np.testing.assert_allclose(cell(video), np.concatenate(expected, -1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gating", ["branch", "cell"])
def test_i3d_gated_begins_with_the_answers_of_i3d(gating):
    plain = build_model("i3d", 5, width_multiplier=0.1)
    gated = build_model("i3d_g", 5, width_multiplier=0.1, gating=gating)
    gates = [gate for gate in gated.submodules if isinstance(gate, FeatureGating)]
    assert len(gates) == {"branch": 37, "cell": 10}[gating]
    inside = {id(variable) for gate in gates for variable in gate.variables}
    kept = [variable for variable in gated.variables if id(variable) not in inside]
    for variable, value in zip(kept, plain.variables, strict=True):
        variable.assign(value)
    clip = np.random.default_rng(0).integers(0, 256, (2, 9, 40, 50, 3), np.uint8)
    expected = plain(clip)
    assert np.ptp(expected) > 0
    np.testing.assert_array_equal(gated(clip), expected)


def test_i3d_has_the_published_constants():
    model = build_model("i3d", 5, width_multiplier=0.1)
    stem = model.stages["Conv3d_1a_7x7"]
    assert stem.conv.kernel.shape == (7, 7, 7, 3, 16)
    assert stem.conv.strides == (2, 2, 2)
    assert (stem.norm.epsilon, stem.norm.scale, stem.conv.use_bias) == (1e-3, False, False)
    assert (model.input_scaling, model.padding, model.head) == ("signed", "same", "windows")
