import math

import models_numpy as reference
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models.batch_norm import (
    BatchNormOptions,
    VideoBatchNormalization,
    share_of_initial_averages,
)
from perfnet_tf.models.input_normalization import INPUT_SCALINGS, InputNormalization
from perfnet_tf.models.layers import (
    ConvUnit,
    FactorizedConv3D,
    FeatureGating,
    TemporalIdentity,
    VideoMaxPool,
)
from perfnet_tf.models.modes import trains_on_cpu
from perfnet_tf.models.synchronization import global_moments

SHAPE = (3, 4, 5, 6, 7)


def video(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(0.5, 2, shape).astype(np.float32)


class TestInputNormalization:
    @pytest.mark.parametrize("scaling", INPUT_SCALINGS)
    def test_every_scaling_takes_bytes_and_fractions_alike(self, scaling):
        layer = InputNormalization("rgb", scaling)
        levels = np.array([0, 51, 255], np.uint8)
        clip = np.broadcast_to(levels, (2, 1, 4, 5, 3))
        mean, deviation = INPUT_SCALINGS[scaling]
        expected = (clip / 255 - mean) / deviation
        np.testing.assert_allclose(layer(clip), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(layer(np.float32(clip / 255)), expected, rtol=1e-4, atol=1e-4)

    def test_caffe_scaling_is_what_keras_resnet50_is_fed(self):
        levels = np.array([0, 51, 255], np.float32)
        clip = np.broadcast_to(levels, (1, 1, 2, 3, 3))
        blue_first = tf_keras.applications.resnet50.preprocess_input(clip.copy())
        ours = InputNormalization("rgb", "caffe")(clip / 255)
        np.testing.assert_allclose(ours[..., ::-1], blue_first, rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("stream", ["rgb", "pose"])
    def test_frames_come_to_minus_one_to_one_from_either_dtype(self, stream):
        layer = InputNormalization(stream)
        levels = np.array([0, 51, 255], np.uint8)
        clip = np.broadcast_to(levels, (2, 1, 4, 5, 3))
        expected = np.broadcast_to(np.array([-1, -0.6, 1]), clip.shape)
        np.testing.assert_allclose(layer(clip), expected, atol=1e-6)
        np.testing.assert_allclose(layer(clip / np.float32(255)), expected, atol=1e-6)
        np.testing.assert_allclose(layer(clip / np.float64(255)), expected, atol=1e-6)

    def test_flow_is_clipped_at_20_pixels(self):
        clip = np.broadcast_to(np.float32([30, -10]), (2, 1, 4, 5, 2))
        expected = np.broadcast_to([1, -0.5], clip.shape)
        np.testing.assert_allclose(InputNormalization("flow")(clip), expected)

    @pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
    def test_traces_with_every_size_unknown(self, dtype):
        layer = InputNormalization("rgb")
        signature = tf.TensorSpec([None, None, None, None, 3], dtype)
        traced = tf.function(layer, input_signature=[signature])
        clip = tf.cast(np.random.default_rng(0).integers(0, 2, (2, 3, 4, 5, 3)), dtype)
        np.testing.assert_array_equal(traced(clip), layer(clip))

    def test_bfloat16_rounds_after_scaling(self, mixed_bfloat16):
        # Rounded to bfloat16 first, 5.03 px would be 5.03125.
        outputs = InputNormalization("flow")(np.full((1, 1, 1, 1, 2), 5.03, np.float32))
        assert outputs.dtype == tf.bfloat16
        assert outputs[0, 0, 0, 0, 0] == tf.cast(5.03 / 20, tf.bfloat16)

    @pytest.mark.parametrize(
        ("stream", "clip", "received"),
        [
            ("rgb", np.zeros((2, 3, 4, 5, 2), np.uint8), "(2, 3, 4, 5, 2)"),
            ("flow", np.zeros((2, 3, 4, 5, 3), np.float32), "(2, 3, 4, 5, 3)"),
            ("rgb", np.zeros((3, 4, 5, 3), np.uint8), "(3, 4, 5, 3)"),
            ("rgb", np.zeros((2, 3, 4, 5, 3), np.int32), "int32"),
            ("flow", np.zeros((2, 3, 4, 5, 2), np.uint8), "uint8"),
        ],
    )
    def test_refuses_other_input(self, stream, clip, received):
        with pytest.raises(InputError) as error:
            InputNormalization(stream)(clip)
        assert received in str(error.value)


class TestVideoBatchNormalization:
    @pytest.mark.parametrize("scale", [True, False])
    @pytest.mark.parametrize("unknown", [(), (0,), (0, 1), (0, 1, 2, 3)])
    def test_equals_keras_on_5d_in_training_and_inference(self, scale, unknown):
        options = {"momentum": 0.7, "epsilon": 1e-3, "scale": scale}
        ours, keras = (
            VideoBatchNormalization(**options),
            tf_keras.layers.BatchNormalization(**options),
        )
        shape = [None if axis in unknown else size for axis, size in enumerate(SHAPE)]

        def run(layer):
            @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
            def train(clip):
                with tf.GradientTape() as tape:
                    tape.watch(clip)
                    outputs = layer(clip, training=True)
                    loss = tf.reduce_sum(outputs**3)
                assert outputs.shape == clip.shape
                return outputs, *tape.gradient(loss, [clip, *layer.trainable_variables])

            layer.build(SHAPE)
            trained = [train(video(seed=1)), train(video(seed=2))]
            return [*trained[0], *trained[1], *layer.variables, layer(video(seed=3))]

        for ours_value, keras_value in zip(run(ours), run(keras), strict=True):
            np.testing.assert_allclose(ours_value, keras_value, rtol=1e-4, atol=2e-4)

    def test_moments_are_over_batch_frames_height_and_width(self):
        layer = VideoBatchNormalization(momentum=0.75, epsilon=1e-3)
        clip = np.float64(video())
        outputs = layer(clip.astype(np.float32), training=True)
        mean, variance = clip.mean(axis=(0, 1, 2, 3)), clip.var(axis=(0, 1, 2, 3))
        np.testing.assert_allclose(outputs, (clip - mean) / np.sqrt(variance + 1e-3), atol=1e-5)
        np.testing.assert_allclose(layer.moving_mean, 0.25 * mean, rtol=1e-4)
        count = clip.size / clip.shape[-1]
        unbiased = variance * count / (count - 1)
        np.testing.assert_allclose(layer.moving_variance, 0.75 + 0.25 * unbiased, rtol=1e-4)

    def test_sums_over_many_positions_keep_their_bits(self):
        # A sum of 300,000 values, one after the other, would be off by 1e-5 and more.
        layer = VideoBatchNormalization(momentum=0.0, epsilon=1e-3)
        clip = video((2, 6, 150, 170, 3))
        exact = np.float64(clip)
        mean, variance = exact.mean(axis=(0, 1, 2, 3)), exact.var(axis=(0, 1, 2, 3))
        outputs = layer(clip, training=True)
        expected = (exact - mean) / np.sqrt(variance + 1e-3)
        np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=4e-6)
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-6)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)

    def test_frozen_layer_keeps_its_statistics(self):
        layer = VideoBatchNormalization()
        layer(video())
        layer.trainable = False
        np.testing.assert_allclose(layer(video(), training=True), video() / np.sqrt(1.001), 1e-5)
        np.testing.assert_array_equal(layer.moving_mean, np.zeros(7))

    def test_bfloat16_keeps_float32_statistics(self, mixed_bfloat16):
        layer = VideoBatchNormalization(momentum=0.0)
        outputs = layer(video(), training=True)
        assert outputs.dtype == tf.bfloat16
        assert {variable.dtype for variable in layer.variables} == {tf.float32}
        np.testing.assert_allclose(layer.moving_mean, video().mean(axis=(0, 1, 2, 3)), atol=5e-3)

    def test_round_trips_its_configuration_after_building(self):
        layer = VideoBatchNormalization(momentum=0.7, epsilon=0.1, scale=False)
        layer(video())
        copy = VideoBatchNormalization.from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()
        np.testing.assert_allclose(copy(video()), layer(video()))

    def test_other_axes_are_refused(self):
        with pytest.raises(InputError, match="axis=1"):
            VideoBatchNormalization(axis=1)


class TestFeatureGating:
    @pytest.mark.parametrize("use_bias", [True, False])
    def test_equals_the_slow_reference(self, use_bias):
        layer = FeatureGating(use_bias=use_bias)
        layer.build(SHAPE)
        rng = np.random.default_rng(4)
        weights = [rng.normal(size=weight.shape) for weight in layer.weights]
        layer.set_weights(weights)
        expected = reference.feature_gating(video(), *weights)
        np.testing.assert_allclose(layer(video()), expected, rtol=1e-4, atol=1e-5)

    def test_gates_start_at_one_half(self):
        clip = np.zeros(SHAPE, np.float32)
        clip[0] = 1e-3
        np.testing.assert_allclose(FeatureGating(use_bias=True)(clip), clip / 2, atol=1e-6)

    def test_a_neutral_gate_starts_as_the_identity_and_learns(self):
        layer = FeatureGating(use_bias=False, neutral=True)
        np.testing.assert_array_equal(layer(video()), video())
        weights = np.random.default_rng(4).normal(size=layer.weights[0].shape)
        layer.set_weights([weights])
        expected = 2 * reference.feature_gating(video(), weights)
        np.testing.assert_allclose(layer(video()), expected, rtol=1e-4, atol=1e-5)
        copy = FeatureGating.from_config(layer.get_config())
        np.testing.assert_array_equal(copy(video()), video())

    def test_context_keeps_its_precision_in_bfloat16(self, mixed_bfloat16):
        # A running bfloat16 sum of so many ones would stop at 256.
        layer = FeatureGating(use_bias=False)
        clip = np.ones((1, 16, 40, 48, 1), np.float32)
        layer.build(clip.shape)
        layer.set_weights([np.ones((1, 1))])
        assert float(layer(clip)[0, 0, 0, 0, 0]) == pytest.approx(1 / (1 + np.exp(-1)), abs=4e-3)


class TestConvUnit:
    def test_equals_the_slow_reference(self):
        unit = ConvUnit(5, (3, 2, 4), (1, 2, 2), batch_norm=BatchNormOptions(0.9, 1e-2))
        unit.build(SHAPE)
        unit(video())
        rng = np.random.default_rng(5)
        kernel, gamma, beta, mean, variance = (
            rng.uniform(0.5, 1.5, weight.shape) - 0.6 * (len(weight.shape) == 5)
            for weight in unit.weights
        )
        unit.set_weights([kernel, gamma, beta, mean, variance])
        expected = reference.conv3d(video(), kernel, (1, 2, 2))
        expected = reference.relu(reference.batch_norm(expected, mean, variance, beta, gamma, 1e-2))
        assert unit(video()).shape == (3, 4, 3, 3, 5)
        np.testing.assert_allclose(unit(video()), expected, rtol=1e-4, atol=1e-4)

    def test_has_a_bias_where_it_has_no_batch_norm(self):
        unit = ConvUnit(5, 1, batch_norm=None)
        unit(video())
        assert [weight.shape for weight in unit.weights] == [(1, 1, 1, 7, 5), (5,)]

    def test_round_trips_its_configuration(self):
        unit = ConvUnit(
            5, (3, 1, 1), 2, batch_norm=BatchNormOptions(0.9, 1e-2, False), activation=False
        )
        assert ConvUnit.from_config(unit.get_config()).get_config() == unit.get_config()


class TestTemporalIdentity:
    def test_convolution_returns_its_input(self):
        unit = ConvUnit(
            7, (3, 1, 1), batch_norm=None, activation=False, kernel_initializer=TemporalIdentity()
        )
        np.testing.assert_array_equal(unit(video()), video())

    @pytest.mark.parametrize("shape", [(2, 1, 1, 4, 4), (3, 1, 3, 4, 4), (3, 1, 1, 4, 5)])
    def test_refuses_kernels_that_cannot_be_the_identity(self, shape):
        with pytest.raises(InputError, match="Received"):
            TemporalIdentity()(shape)


def test_moments_over_replicas_keep_their_bits():
    clip = video((2, 6, 150, 170, 3))
    mean, variance, count = global_moments(tf.constant(clip))
    exact, axes = np.float64(clip), (0, 1, 2, 3)
    np.testing.assert_allclose(mean, exact.mean(axes), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axes), rtol=1e-6)
    assert count == clip.size / 3


@pytest.mark.parametrize(("momentum", "epsilon"), [(1.5, 1e-3), (0.9, 0.0)])
def test_batch_norm_options_are_checked(momentum, epsilon):
    with pytest.raises(InputError, match="Received"):
        BatchNormOptions(momentum, epsilon)


class TestFactorizedConv3D:
    @pytest.mark.parametrize(
        ("kernel", "strides"),
        [
            ((1, 3, 3), (1, 2, 2)),
            ((1, 1, 1), (1, 1, 1)),
            ((1, 1, 1), (1, 2, 2)),
            ((3, 1, 1), (1, 1, 1)),
            ((5, 1, 1), (2, 1, 1)),
            ((3, 1, 1), (1, 2, 2)),
            ((3, 5, 3), (2, 1, 2)),
        ],
    )
    @pytest.mark.parametrize("known", [True, False])
    def test_equals_conv3d_and_its_gradients(self, kernel, strides, known):
        rng = np.random.default_rng(0)
        inputs = tf.constant(rng.normal(size=(2, 5, 7, 6, 3)), tf.float32)
        ours = FactorizedConv3D(4, kernel, strides, bias_initializer="random_normal")
        theirs = tf_keras.layers.Conv3D(4, kernel, strides, padding="same")
        signature = tf.TensorSpec([2, 5, 7, 6, 3] if known else [None] * 4 + [3])
        results = []
        for layer in (ours, theirs):
            layer.build(inputs.shape)
            layer.set_weights(ours.get_weights())

            @tf.function(input_signature=[signature])
            def run(x, layer=layer):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    outputs = layer(x)
                    loss = tf.reduce_sum(outputs**2)
                return outputs, *tape.gradient(loss, [x, *layer.trainable_variables])

            results.append(run(inputs))
        assert ours(inputs).shape == theirs.compute_output_shape(inputs.shape)
        for mine, other in zip(*results, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize(
        ("kernel", "strides"),
        [((1, 7, 7), (1, 2, 2)), ((7, 1, 1), (2, 1, 1)), ((3, 5, 3), (2, 2, 2)), (3, 1)],
    )
    @pytest.mark.parametrize("known", [True, False])
    def test_pads_half_a_kernel_on_both_sides(self, kernel, strides, known):
        inputs = video((2, 6, 8, 10, 3))
        layer = FactorizedConv3D(4, kernel, strides, pad_symmetrically=True)
        layer.build(inputs.shape)
        half = [(size - 1) // 2 for size in layer.kernel_size]
        padded = np.pad(inputs, [(0, 0), *[(h, h) for h in half], (0, 0)])
        expected = tf.nn.conv3d(padded, layer.kernel, [1, *layer.strides, 1], "VALID")
        shape = inputs.shape if known else [None] * 4 + [3]
        outputs = tf.function(layer, input_signature=[tf.TensorSpec(shape)])(inputs)
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)

    def test_other_padding_is_refused(self):
        with pytest.raises(InputError, match="SAME"):
            FactorizedConv3D(4, 3, padding="valid")


POOLS = [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 2, 2)), ((3, 2, 2), (2, 2, 2)), ((2, 2, 2), 2)]


class TestVideoMaxPool:
    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize(
        ("window", "strides", "size"),
        [((1, 3, 3), (1, 2, 2), (3, 4, 5)), ((3, 3, 3), (2, 2, 2), (4, 5, 4))],
    )
    def test_symmetric_windows_start_half_a_window_before_the_video(
        self, window, strides, size, known
    ):
        inputs = -np.abs(video((2, *size, 3)))  # padding with zeros would win
        half = [(length - 1) // 2 for length in window]
        padded = np.pad(inputs, [(0, 0), *[(h, h) for h in half], (0, 0)], constant_values=-np.inf)
        expected = tf.nn.max_pool3d(padded, window, strides, "VALID")
        layer = VideoMaxPool(window, strides, pad_symmetrically=True)
        shape = inputs.shape if known else [None] * 4 + [3]
        outputs = tf.function(layer, input_signature=[tf.TensorSpec(shape)])(inputs)
        np.testing.assert_array_equal(outputs, expected)

    @pytest.mark.parametrize(("frames", "expected"), [(1, 1), (2, 1), (3, 1), (4, 2)])
    @pytest.mark.parametrize("known", [True, False])
    def test_a_last_lone_frame_is_left_out_but_never_the_only_one(self, frames, expected, known):
        inputs = video((1, frames, 2, 4, 3))
        layer = VideoMaxPool(2, 2, pad_symmetrically=True)
        shape = inputs.shape if known else [None] * 4 + [3]
        outputs = tf.function(layer, input_signature=[tf.TensorSpec(shape)])(inputs)
        assert outputs.shape == (1, expected, 1, 2, 3)
        np.testing.assert_array_equal(
            outputs[:, 0, 0, 0], inputs[:, :2, :2, :2].max(axis=(1, 2, 3))
        )

    def test_same_padding_is_keras(self):
        inputs = video((2, 5, 6, 7, 3))
        expected = tf_keras.layers.MaxPool3D((2, 3, 3), 2, padding="same")(inputs)
        np.testing.assert_array_equal(VideoMaxPool((2, 3, 3), 2)(inputs), expected)

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize(("window", "strides"), POOLS)
    def test_gradient_is_tensorflows(self, window, strides, dtype):
        shape = (1, 4, 4, 5, 3)
        # 240 different values that bfloat16 holds, below 0: padding with zeros would win.
        values = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape)
        inputs = tf.cast(values - 240, dtype)
        layer = VideoMaxPool(window, strides, dtype=dtype)
        actual = pool_gradient(layer, inputs)
        expected = pool_gradient(
            lambda video: tf.nn.max_pool3d(video, window, strides, "SAME"), inputs
        )
        np.testing.assert_array_equal(actual, expected)

    def test_channels_in_front_are_refused(self):
        with pytest.raises(InputError, match="channels_last"):
            VideoMaxPool(2, 2, data_format="channels_first")

    @pytest.mark.skipif(not trains_on_cpu(), reason="way of CPUs")
    @pytest.mark.parametrize(("window", "strides"), POOLS)
    def test_of_equal_values_the_first_gets_the_gradient(self, window, strides):
        inputs = np.random.default_rng(0).integers(0, 3, (2, 4, 6, 6, 3)).astype(np.float32)
        strides = np.broadcast_to(strides, 3)
        expected, sizes = np.zeros_like(inputs), -(-np.array(inputs.shape[1:4]) // strides)
        lacking = np.maximum((sizes - 1) * strides + window - inputs.shape[1:4], 0)
        for number, place in enumerate(np.ndindex(2, *sizes, 3)):
            first = np.array(place[1:4]) * strides - lacking // 2
            begin, end = np.maximum(first, 0), first + window
            slices = tuple(slice(*pair) for pair in zip(begin, end, strict=True))
            values = inputs[place[0]][slices][..., place[4]]
            offset = np.unravel_index(values.argmax(), values.shape)
            expected[(place[0], *(begin + offset), place[4])] += number % 8
        actual = pool_gradient(VideoMaxPool(window, tuple(strides)), tf.constant(inputs))
        np.testing.assert_array_equal(actual, expected)


def pool_gradient(pool, inputs):
    """Of the outputs times 0, 1, ... 7, 0, 1, ..."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = pool(inputs)
        weights = tf.reshape(tf.range(tf.size(outputs)) % 8, outputs.shape)
        total = tf.reduce_sum(outputs * tf.cast(weights, outputs.dtype))
    return tape.gradient(total, inputs)


def test_the_slowest_trainable_batch_norm_says_how_old_the_averages_are():
    norms = [VideoBatchNormalization(momentum=momentum) for momentum in (0.9, 0.999)]
    model = tf_keras.Sequential(norms)
    model(video())
    assert share_of_initial_averages(model, 45) == pytest.approx(0.999**45)
    moving = norms[1].moving_mean
    for _ in range(45):
        model(video(), training=True)
    # The mean of what the first one normalised is 0, so only its beginning is left of a 1.
    moving.assign(np.ones(7))
    for _ in range(45):
        model(video(), training=True)
    np.testing.assert_allclose(moving, 0.999**45, atol=1e-3)
    norms[1].trainable = False
    assert share_of_initial_averages(model, 45) == pytest.approx(0.9**45)
    assert share_of_initial_averages(tf_keras.Sequential([tf_keras.layers.ReLU()]), 45) == 0
