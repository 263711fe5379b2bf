"""Layers as they are traced for a TPU, with five axes, against what CPUs and GPUs compute."""

import contextlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models import space_to_depth
from perfnet_tf.models.batch_norm import BatchNormOptions, VideoBatchNormalization
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.layers import ConvUnit, FactorizedConv3D, VideoMaxPool
from perfnet_tf.models.modes import rematerialization, traced_for_tpu
from perfnet_tf.models.stem import convolve_and_pool

KERNELS = {
    "space": ((1, 3, 3), 1),
    "space, strided": ((1, 3, 3), (1, 2, 2)),
    "time": ((3, 1, 1), 1),
    "time, strided in space": ((3, 1, 1), (1, 2, 2)),
    "pixels, strided": (1, (1, 2, 2)),
    "both": (3, (2, 2, 2)),
}


def computed(unit, clips, *, on_tpu, training):
    """Outputs, gradients and moving averages of a compiled call, with weights as before it."""
    before = [variable.numpy() for variable in unit.variables]

    @tf.function(jit_compile=True, autograph=False)
    def call(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = unit(inputs, training=training)
            loss = tf.reduce_sum(outputs**2)
        return outputs, tape.gradient(loss, [inputs, *unit.trainable_variables])

    with traced_for_tpu() if on_tpu else contextlib.nullcontext():
        outputs, gradients = call(clips)
    after = [variable.numpy() for variable in unit.variables]
    for variable, value in zip(unit.variables, before, strict=True):
        variable.assign(value)
    return [outputs.numpy(), *(g.numpy() for g in gradients), *after]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", KERNELS)
def test_a_unit_computes_the_same(name, training):
    kernel, strides = KERNELS[name]
    norm = BatchNormOptions(0.9, 1e-3, scale=True)
    unit = ConvUnit(8, kernel, strides, batch_norm=norm)
    clips = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 8, 7, 6)).astype(np.float32))
    unit(clips)
    unit.norm.moving_mean.assign(np.linspace(-0.5, 0.5, 8))
    unit.norm.beta.assign(np.linspace(-1, 1, 8))
    expected = computed(unit, clips, on_tpu=False, training=training)
    found = computed(unit, clips, on_tpu=True, training=training)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_nothing_merges_the_batch_with_the_frames():
    unit = ConvUnit(8, (1, 3, 3), batch_norm=BatchNormOptions(0.9, 1e-3))
    clips = tf.zeros([2, 5, 8, 7, 6])
    unit(clips)

    def kinds(on_tpu):
        function = tf.function(lambda inputs: unit(inputs, training=True), autograph=False)
        with traced_for_tpu() if on_tpu else contextlib.nullcontext():
            graph = function.get_concrete_function(clips).graph
        return {node.type for node in graph.get_operations()}

    assert "Reshape" in kinds(on_tpu=False)
    assert "Reshape" not in kinds(on_tpu=True)
    assert "Conv3D" in kinds(on_tpu=True)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    ("kernel", "strides", "frames"),
    [((5, 7, 7), (1, 2, 2), 6), ((3, 7, 7), (2, 2, 2), 5), ((7, 7, 7), (2, 2, 2), 8),
     ((1, 3, 3), (1, 2, 2), 2), ((1, 5, 4), (1, 2, 2), 2)],
)  # fmt: skip
def test_a_first_convolution_on_four_pixels_in_one_is_the_same(kernel, strides, frames, symmetric):
    if symmetric and kernel[2] % 2 == 0:
        pytest.skip("half of an even kernel is no whole number of pixels")
    layer = FactorizedConv3D(8, kernel, strides, pad_symmetrically=symmetric, use_bias=False)
    clips = np.random.default_rng(1).normal(size=(2, frames, 12, 10, 3)).astype(np.float32)
    expected = layer(clips)
    with traced_for_tpu():
        assert space_to_depth.is_worth_it(tf.constant(clips), layer.kernel, strides, (2, 2))
        found = layer(clips)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_odd_frames_and_many_channels_stay_as_they_are():
    def is_worth_it(shape, strides, block=(2, 2)):
        kernel = tf.zeros([3, 7, 7, shape[-1], 8])
        return space_to_depth.is_worth_it(tf.zeros(shape), kernel, strides, block)

    assert is_worth_it([1, 2, 12, 10, 3], (1, 2, 2))
    assert not is_worth_it([1, 2, 12, 10, 3], (1, 2, 2), block=(2, 4))
    assert not is_worth_it([1, 2, 11, 10, 3], (1, 2, 2))
    assert not is_worth_it([1, 2, 12, 10, 3], (1, 1, 1))
    assert not is_worth_it([1, 2, 12, 10, 64], (1, 2, 2))


STEMS = {
    "R3D50-G": ((5, 7, 7), (1, 2, 2)),
    "S3D-G": ((3, 7, 7), (2, 2, 2)),
    "small": ((1, 3, 3), (1, 2, 2)),
    "even columns": ((1, 5, 4), (1, 2, 2)),
}


class Stem(tf_keras.layers.Layer):
    """A first convolution and its pooling: the pooled features."""

    def __init__(self, kernel, strides, norm, padding):
        super().__init__()
        self.unit = ConvUnit(6, kernel, strides, batch_norm=norm, padding=padding)
        symmetric = padding == "symmetric"
        self.pool = VideoMaxPool((1, 3, 3), (1, 2, 2), pad_symmetrically=symmetric)

    def call(self, inputs, training=False):
        return convolve_and_pool(self.unit, self.pool, inputs, training=training)[1]


NORM = BatchNormOptions(0.9, 1e-3)


def made_stem(name="R3D50-G", norm=NORM, padding="same"):
    tf_keras.utils.set_random_seed(3)
    stem = Stem(*STEMS[name], norm, padding)
    clips = np.random.default_rng(2).normal(size=(2, 5, 16, 12, 3)).astype(np.float32)
    stem(clips)
    weights = stem.unit.conv.bias if norm is None else stem.unit.norm.beta
    weights.assign(np.linspace(-1, 1, 6))
    return stem, tf.constant(clips)


def assert_same(stem, clips, *, training):
    expected = computed(stem, clips, on_tpu=False, training=training)
    found = computed(stem, clips, on_tpu=True, training=training)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5 * np.abs(other).max())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("name", STEMS)
def test_a_stem_in_pairs_computes_the_same(name, padding, training):
    if padding == "symmetric" and name == "even columns":
        pytest.skip("half of an even kernel is no whole number of pixels")
    assert_same(*made_stem(name, padding=padding), training=training)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_an_odd_number_of_rows_is_pooled_in_pairs(padding):
    stem, clips = made_stem(padding=padding)
    assert_same(stem, clips[:, :, :14], training=True)


@pytest.mark.parametrize("training", [True, False])
def test_a_stem_with_a_bias_computes_the_same_in_pairs(training):
    assert_same(*made_stem(norm=None), training=training)


def test_a_frozen_stem_computes_the_same_in_pairs():
    stem, clips = made_stem()
    stem.unit.norm.trainable = False
    assert_same(stem, clips, training=True)


def test_a_stem_is_recomputed_in_pairs():
    stem, clips = made_stem()
    with rematerialization():
        assert_same(stem, clips, training=True)


def test_features_of_a_stem_keep_their_places():
    stem, clips = made_stem()
    expected = stem.unit(clips)
    with traced_for_tpu():
        features, _ = convolve_and_pool(stem.unit, stem.pool, clips, training=False)
    np.testing.assert_allclose(features, expected, atol=1e-5)


def kinds_of_operations(stem, clips):
    function = tf.function(stem, autograph=False)
    with traced_for_tpu():
        return {node.type for node in function.get_concrete_function(clips).graph.get_operations()}


def test_an_odd_number_of_columns_is_pooled_as_it_is():
    stem, clips = made_stem()
    assert "Maximum" in kinds_of_operations(stem, clips)
    assert "Maximum" not in kinds_of_operations(stem, clips[:, :, :, :10])


def test_batch_norm_refuses_other_channels():
    _, clips = made_stem()
    norm = VideoBatchNormalization()
    norm(clips)
    with pytest.raises(InputError, match="takes 12 channels. Received: 3"):
        norm(clips, positions=4)


TWO_DEVICES = """
import sys
import numpy as np
from perfnet_tf.models.modes import synchronized_batch_norm, traced_for_tpu
import tensorflow as tf
from test_on_tpu import made_stem

device = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(device, two)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    stem, clips = made_stem()

def call(clips):
    with traced_for_tpu(), synchronized_batch_norm():
        return stem(clips, training=True)

parts = strategy.experimental_distribute_values_from_function(
    lambda context: clips[context.replica_id_in_sync_group][None]
)
outputs = strategy.run(tf.function(call, autograph=False), [parts])
outputs = tf.concat(strategy.experimental_local_results(outputs), 0)
norm = stem.unit.norm
np.savez(sys.argv[1], outputs, norm.moving_mean.numpy(), norm.moving_variance.numpy())
"""


def test_two_devices_normalise_pairs_as_one(tmp_path):
    path = os.pathsep.join([str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, tmp_path / "two.npz"],
        env={**os.environ, "PYTHONPATH": path},
        check=True,
    )
    stem, clips = made_stem()
    expected = [stem(clips, training=True)]
    expected += [stem.unit.norm.moving_mean, stem.unit.norm.moving_variance]
    found = np.load(tmp_path / "two.npz").values()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


NETWORKS = {
    "the paper's": {},
    "gates in each cell, strides on the first convolution": {
        "gating": "cell",
        "stride_on": "temporal",
        "padding": "symmetric",
    },
    "a gate before the addition, half of the frames": {
        "gating": "block_residual",
        "temporal_downsampling": True,
    },
    "S3D-G": None,
}


def called(network, clips, count, *, on_tpu, training):
    """The first endpoints, the gradients of their squares, and all variables after the call."""
    before = [variable.numpy() for variable in network.variables]
    mode = traced_for_tpu() if on_tpu else contextlib.nullcontext()
    with mode, tf.GradientTape() as tape:
        maps = list(network.endpoints(clips, training=training).values())[:count]
        loss = sum(tf.reduce_mean(tf.square(features)) for features in maps)
    gradients = tape.gradient(loss, network.trainable_variables, unconnected_gradients="zero")
    after = [variable.numpy() for variable in network.variables]
    for variable, value in zip(network.variables, before, strict=True):
        variable.assign(value)
    return [*maps, *gradients, *after]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_the_same(name, training):
    tf_keras.utils.set_random_seed(4)
    options, backbone = NETWORKS[name], "r3d50_g"
    if options is None:
        options, backbone = {"batch_norm_momentum": 0.9}, "s3d_g"
    network = build_model(backbone, 5, width_multiplier=0.125, dropout_rate=0.0, **options)
    clips = tf.random.stateless_uniform([2, 8, 48, 64, 3], [1, 2])
    network(clips)
    # In training conv1, pool1 and res2: moments of the few values behind them multiply rounding.
    count = 3 if training else None
    expected = called(network, clips, count, on_tpu=False, training=training)
    found = called(network, clips, count, on_tpu=True, training=training)
    # Rounding makes another of two values the largest in a window or two.
    for value, reference in zip(found, expected, strict=True):
        difference = np.linalg.norm(np.subtract(value, reference))
        assert difference <= 5e-3 * np.linalg.norm(reference) + 1e-6


def test_columns_of_few_channels_lie_in_pairs():
    network = build_model("r3d50_g", 5, width_multiplier=0.125)
    clips = tf.zeros([1, 2, 48, 64, 3])
    network(clips)
    widths = {}
    for block in network.blocks:
        last = block.cells[-1].expand.conv

        def recorded(inputs, *, name=block.name, call=last.call, **options):
            widths[name] = inputs.shape[3]
            return call(inputs, **options)

        last.call = recorded
    with traced_for_tpu():
        network(clips)
    assert widths == {"res2": 16 / 2, "res3": 8, "res4": 4, "res5": 2}
