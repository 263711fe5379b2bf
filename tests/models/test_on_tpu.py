"""Layers as they are traced for a TPU, with five axes, against what CPUs and GPUs compute."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models import space_to_depth
from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.layers import ConvUnit, FactorizedConv3D
from perfnet_tf.models.modes import traced_for_tpu

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
        assert space_to_depth.is_worth_it(tf.constant(clips), layer.kernel, strides)
        found = layer(clips)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_odd_frames_and_many_channels_stay_as_they_are():
    kernel = tf.zeros([3, 7, 7, 3, 8])
    assert not space_to_depth.is_worth_it(tf.zeros([1, 2, 11, 10, 3]), kernel, (1, 2, 2))
    assert not space_to_depth.is_worth_it(tf.zeros([1, 2, 12, 10, 3]), kernel, (1, 1, 1))
    many = tf.zeros([3, 7, 7, 64, 8])
    assert not space_to_depth.is_worth_it(tf.zeros([1, 2, 12, 10, 64]), many, (1, 2, 2))
