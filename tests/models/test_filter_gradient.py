import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.models.filter_gradient import conv2d
from perfnet_tf.models.layers import FactorizedConv3D
from perfnet_tf.models.modes import traced_for_any_device, trains_on_cpu

#: Where the gradient is a product: images' shape, kernel's rows and columns, filters, strides.
PRODUCTS = [
    ((2, 5, 7, 3), (1, 1), 4, (1, 1)),
    ((2, 5, 8, 3), (1, 1), 4, (2, 3)),
    ((2, 5, 7, 3), (1, 4), 4, (1, 1)),  # SAME pads one more behind
    ((1, 3, 4, 512), (3, 3), 200, (1, 1)),
]
#: Where it is one of matrices whose columns collide.
COLLISIONS = [
    ((2, 5, 7, 512), (1, 1), 4, (1, 1)),
    ((2, 5, 7, 4), (1, 1), 512, (1, 1)),
    ((2, 5, 7, 512), (3, 1), 4, (1, 1)),
]
#: Where it is one for each tap.
TAPS = [
    ((2, 5, 7, 3), (3, 1), 4, (1, 1)),
    ((1, 5, 7, 3), (3, 1), 4, (1, 1)),
    ((3, 5, 7, 3), (4, 1), 4, (1, 1)),
    ((2, 2, 7, 3), (7, 1), 4, (1, 1)),  # a kernel of more frames than the clip has
]
#: Where it is a convolution with exchanged roles.
EXCHANGES = [
    ((2, 6, 7, 256), (3, 3), 2, (1, 1)),
    ((3, 7, 8, 256), (3, 2), 2, (2, 3)),
    ((2, 5, 9, 512), (3, 3), 2, (2, 2)),
    ((2, 2, 9, 256), (2, 3), 2, (2, 2)),
    ((1, 2, 1, 256), (5, 3), 2, (1, 1)),
]


def gradients(convolve, images, kernel, upstream_seed=2):
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        outputs = convolve(images, kernel)
    rng = np.random.default_rng(upstream_seed)
    upstream = tf.cast(rng.normal(size=outputs.shape), outputs.dtype)
    return outputs, *tape.gradient(outputs, [images, kernel], output_gradients=upstream)


def random_pair(shape, window, filters, dtype=tf.float32):
    rng = np.random.default_rng(1)
    images = tf.cast(rng.normal(size=shape), dtype)
    return images, tf.cast(rng.normal(size=(*window, shape[-1], filters)), dtype)


@pytest.mark.parametrize(
    ("shape", "window", "filters", "strides", "padding"),
    [
        *[(*case, "SAME") for case in [*PRODUCTS, *COLLISIONS, *TAPS, *EXCHANGES]],
        ((2, 6, 7, 256), (3, 3), 2, (1, 1), "VALID"),
        ((2, 7, 8, 256), (3, 3), 2, (2, 2), "VALID"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_results_and_gradients_are_those_of_tensorflow(
    shape, window, filters, strides, padding, known
):
    images, kernel = random_pair(shape, window, filters)
    unknown = [None, None, None, shape[-1]]

    def convolve(images, kernel):
        return conv2d(
            images if known else tf.ensure_shape(images, unknown), kernel, strides, padding
        )

    specs = [tf.TensorSpec(images.shape if known else unknown), tf.TensorSpec(kernel.shape)]
    traced = tf.function(convolve, input_signature=specs)
    ours = gradients(traced, images, kernel)
    theirs = gradients(lambda x, k: tf.nn.conv2d(x, k, strides, padding), images, kernel)
    for value, expected in zip(ours, theirs, strict=True):
        assert value.shape == expected.shape
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(value, expected, atol=2e-6 * scale)


@pytest.mark.parametrize(("shape", "window", "filters", "strides"), [*PRODUCTS, *COLLISIONS, *TAPS])
def test_bfloat16_is_rounded_once(shape, window, filters, strides):
    images, kernel = random_pair(shape, window, filters, tf.bfloat16)
    ours = gradients(lambda x, k: conv2d(x, k, strides, "SAME"), images, kernel)
    exact = gradients(
        lambda x, k: tf.nn.conv2d(x, k, strides, "SAME"),
        tf.cast(images, tf.float32),
        tf.cast(kernel, tf.float32),
    )
    assert ours[2].dtype == tf.bfloat16
    error = tf.abs(tf.cast(ours[2], tf.float32) - exact[2])
    # The upstream gradient is rounded, too: 2^-9 of each of the terms.
    assert tf.reduce_max(error) < 2**-7 * tf.reduce_max(tf.abs(exact[2]))


@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2)])
@pytest.mark.parametrize("kernel_size", [(1, 1, 1), (3, 1, 1)])
@pytest.mark.parametrize("pad_symmetrically", [False, True])
def test_layers_of_unknown_sizes_have_the_gradients_of_a_3d_convolution(
    kernel_size, strides, pad_symmetrically
):
    layer = FactorizedConv3D(4, kernel_size, strides, pad_symmetrically=pad_symmetrically)
    layer.build((None, None, None, None, 3))
    video = tf.cast(np.random.default_rng(1).normal(size=(2, 5, 6, 7, 3)), tf.float32)
    weights = tf.convert_to_tensor(layer.kernel)
    ours = gradients(layer.convolution_op, video, weights)[1:]
    dynamic = tf.function(layer, input_signature=[tf.TensorSpec([None] * 4 + [3])])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(dynamic(video) ** 2)
    unknown = tape.gradient(loss, layer.kernel)

    def whole(x, k):
        return tf.nn.conv3d(x, k, [1, *strides, 1], "SAME")

    expected = gradients(whole, video, weights)[1:]
    for value, reference in zip(ours, expected, strict=True):
        np.testing.assert_allclose(value, reference, atol=2e-5)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = tf.reduce_sum(whole(video, weights) ** 2)
    np.testing.assert_allclose(unknown, tape.gradient(loss, weights), rtol=1e-4, atol=1e-4)


def operations(function, *arguments):
    graph = tf.function(function, autograph=False).get_concrete_function(*arguments).graph
    return [operation.type for operation in graph.get_operations()]


def test_accelerators_get_tensorflows_own_gradient():
    images, kernel = random_pair((2, 5, 7, 3), (3, 1), 4)

    def both(images, kernel):
        return gradients(lambda x, k: conv2d(x, k, (1, 1), "SAME"), images, kernel)

    assert trains_on_cpu() == (not tf.config.list_logical_devices("GPU"))
    with traced_for_any_device():
        assert not trains_on_cpu()
        types = operations(both, images, kernel)
    assert "Conv2DBackpropFilter" in types and "MatMul" not in types
    if trains_on_cpu():
        types = operations(both, images, kernel)
        assert "Conv2DBackpropFilter" not in types


@pytest.mark.skipif(not trains_on_cpu(), reason="ways of CPUs")
@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        (PRODUCTS, {"MatMul": 1, "Conv2D": 1, "StatelessWhile": 0}),
        (COLLISIONS, {"MatMul": 0, "Conv2D": 2, "StatelessWhile": 0}),
        (TAPS, {"MatMul": 0, "Conv2D": 1, "StatelessWhile": 1}),
        (EXCHANGES, {"MatMul": 0, "Conv2D": 2, "StatelessWhile": 0}),
    ],
)
def test_each_kernel_takes_its_way(cases, expected):
    for shape, window, filters, strides in cases:
        images, kernel = random_pair(shape, window, filters)

        def both(images, kernel, strides=strides):
            return gradients(lambda x, k: conv2d(x, k, strides, "SAME"), images, kernel)

        types = operations(both, images, kernel)
        assert {name: types.count(name) for name in expected} == expected, (shape, window)
        assert "Conv2DBackpropFilter" not in types


def test_few_channels_and_large_kernels_are_left_to_tensorflow():
    for shape, window, strides, dtype in [
        ((1, 6, 6, 8), (3, 3), (1, 1), tf.float32),
        ((1, 6, 6, 8), (3, 1), (2, 1), tf.float32),
        ((1, 6, 6, 255), (3, 3), (2, 2), tf.float32),
        ((1, 6, 6, 512), (3, 3), (2, 2), tf.bfloat16),
    ]:
        images, kernel = random_pair(shape, window, 2, dtype)

        def both(images, kernel, strides=strides):
            return gradients(lambda x, k: conv2d(x, k, strides, "SAME"), images, kernel)

        assert "Conv2DBackpropFilter" in operations(both, images, kernel)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("case", [PRODUCTS[0], COLLISIONS[0], TAPS[0], EXCHANGES[0]])
def test_gradients_can_be_differentiated_again(case, jit_compile):
    shape, window, filters, strides = case
    images, kernel = random_pair(shape, window, filters)

    def second(convolve):
        @tf.function(autograph=False, jit_compile=jit_compile)
        def differentiate():
            with tf.GradientTape() as outer:
                outer.watch([images, kernel])
                with tf.GradientTape() as inner:
                    inner.watch(kernel)
                    total = tf.reduce_sum(convolve(images, kernel, strides, "SAME") ** 2)
                of_kernel = inner.gradient(total, kernel)
            return outer.gradient(of_kernel, [images, kernel])

        return differentiate()

    for value, expected in zip(second(conv2d), second(tf.nn.conv2d), strict=True):
        scale = float(tf.reduce_max(tf.abs(expected)))
        np.testing.assert_allclose(value, expected, atol=2e-6 * scale)
