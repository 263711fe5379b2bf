"""Layers in bfloat16, on CPUs with it and without: both ways are computed on every machine."""

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models import layers
from perfnet_tf.models.folding import FusedConv3D
from perfnet_tf.models.layers import ConvUnit, FactorizedConv3D, VideoMaxPool

pytestmark = pytest.mark.usefixtures("mixed_bfloat16")

#: Of a kernel, and of strides: in space, of one pixel, in time, and in both.
CONVOLUTIONS = [
    ((1, 3, 3), (1, 2, 2)),
    ((1, 1, 1), (1, 1, 1)),
    ((3, 1, 1), (1, 1, 1)),
    ((3, 5, 3), (2, 1, 2)),
]


@pytest.fixture(params=["with bfloat16", "without bfloat16"])
def processor(request, monkeypatch):
    """Makes layers believe that the processor is of this kind."""
    lacks = request.param == "without bfloat16"
    monkeypatch.setattr(layers, "lacks_bfloat16", lambda: lacks)


@pytest.fixture
def without_bfloat16(monkeypatch):
    monkeypatch.setattr(layers, "lacks_bfloat16", lambda: True)


def rounded(values):
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)


def results_of(layer, inputs, kernel, upstream):
    """Outputs, and gradients of the inputs and the kernel, as float32."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = layer(inputs, kernel)
    gradients = tape.gradient(outputs, [inputs, kernel], tf.cast(upstream, outputs.dtype))
    return [tf.cast(value, tf.float32) for value in (outputs, *gradients)]


@pytest.mark.parametrize("convolution", [FactorizedConv3D, FusedConv3D])
@pytest.mark.parametrize(("kernel", "strides"), CONVOLUTIONS)
def test_a_processor_without_it_rounds_once(convolution, kernel, strides, without_bfloat16):
    rng = np.random.default_rng(0)
    inputs = rounded(rng.normal(size=(2, 6, 9, 8, 16)))
    layer = convolution(24, kernel, strides, use_bias=False)
    layer.build(inputs.shape)
    weights = rounded(layer.kernel)
    upstream = rounded(rng.normal(size=layer.compute_output_shape(inputs.shape)))

    actual = results_of(
        layer.convolution_op,
        tf.cast(inputs, tf.bfloat16),
        tf.cast(weights, tf.bfloat16),
        upstream,
    )
    expected = results_of(
        lambda x, k: tf.nn.conv3d(x, k, [1, *strides, 1], "SAME"), inputs, weights, upstream
    )
    for mine, exact in zip(actual, expected, strict=True):
        # Half of the last of eight bits, and float32's order of summation where that is small.
        np.testing.assert_allclose(mine, exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("strides", [1, 2])
def test_pooling_takes_the_same_values(strides, processor):
    values = tf.cast(
        np.random.default_rng(0).permutation(240).reshape(1, 4, 4, 5, 3) - 240, "bfloat16"
    )
    outputs = VideoMaxPool(3, strides)(values)
    assert outputs.dtype == tf.bfloat16
    np.testing.assert_array_equal(outputs, tf.nn.max_pool3d(values, 3, strides, "SAME"))


def test_pooling_pads_symmetrically_once(processor):
    values = np.random.default_rng(0).permutation(256).reshape(1, 4, 8, 8, 1) - 256
    pool = VideoMaxPool(3, 2, pad_symmetrically=True)
    outputs = tf.cast(pool(tf.cast(values, tf.bfloat16)), tf.float32)
    exact = VideoMaxPool(3, 2, pad_symmetrically=True, dtype="float32")(tf.cast(values, tf.float32))
    np.testing.assert_array_equal(outputs, exact)


def test_bias_gradient_passes_256(processor):
    unit = ConvUnit(3, 1, batch_norm=None, activation=False)
    inputs = tf.ones([2, 4, 16, 16, 2], tf.bfloat16)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(unit(inputs), tf.float32))
    np.testing.assert_array_equal(tape.gradient(total, unit.conv.bias), [2048] * 3)


# Processors without AVX-512 add up in bfloat16: 27 taps are rougher than 3.
@pytest.mark.parametrize(("kernel", "tolerance"), [((3, 1, 1), 0.02), ((3, 3, 3), 0.04)])
def test_gradient_is_right_where_the_kernel_outlasts_the_clip(kernel, tolerance, processor):
    # Conv3D's is unwritten memory there: fill what it is likely to be given with large values.
    tf.random.normal([2**20]) * 1e30
    inputs = tf.random.stateless_normal([16, 2, 3, 4, 32], [1, 2])
    layer = FactorizedConv3D(32, kernel, use_bias=False)
    layer.build(inputs.shape)

    def kernel_gradient(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(inputs), tf.float32) ** 2)
        return tape.gradient(loss, layer.kernel)

    rough = kernel_gradient(inputs)
    kernel = layer.kernel
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        loss = tf.reduce_sum(tf.nn.conv3d(inputs, kernel, [1] * 5, "SAME") ** 2)
    exact = tape.gradient(loss, kernel)
    scale = tf.reduce_max(tf.abs(exact))
    np.testing.assert_allclose(rough / scale, exact / scale, atol=tolerance)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [((7, 3, 3), 2), ((3, 3, 3), 1)])
def test_a_short_clip_is_convolved_as_by_conv3d(frames, known, kernel, stride, processor):
    inputs = tf.cast(np.random.default_rng(0).normal(0.5, 2, (2, frames, 5, 4, 3)), tf.bfloat16)
    layer = FactorizedConv3D(4, kernel, stride, use_bias=False)
    layer.build(inputs.shape)
    weights = rounded(layer.kernel)
    expected = tf.nn.conv3d(tf.cast(inputs, tf.float32), weights, [1, *[stride] * 3, 1], "SAME")
    shape = inputs.shape if known else [None] * 4 + [3]
    run = tf.function(layer, input_signature=[tf.TensorSpec(shape, tf.bfloat16)])
    outputs = tf.cast(run(inputs), tf.float32)
    np.testing.assert_allclose(outputs, expected, atol=0.02 * np.abs(expected).max())
