"""What every backbone must do, whatever its architecture and stream."""

import inspect
import json

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.config import BACKBONES
from perfnet_tf.models.factory import build_model, list_options
from perfnet_tf.streams import STREAM_CHANNELS, STREAMS

NUM_CLASSES = 7
#: Batch, frames, height, width: all different, and not multiples of all strides.
CLIP = (2, 10, 40, 50)
#: Without momentum, one training call gives batch norm the statistics of its clip. Calls are eager
#: where they can be: a network is traced and optimised in the time of some ten eager calls.
TINY = {"width_multiplier": 0.1, "batch_norm_momentum": 0.0}

#: Every backbone in every reading: name -> backbone and options.
MODELS = {
    "r3d50_g": ("r3d50_g", {}),
    "r3d50_g_block_residual": ("r3d50_g", {"gating": "block_residual"}),
    "r3d50_g_cell": ("r3d50_g", {"gating": "cell", "temporal_kernels": "caption"}),
    "r3d50_downsampled": ("r3d50", {"temporal_downsampling": True, "stem_temporal_kernel": 3}),
    "r3d50_model_garden": ("r3d50", {"stem_temporal_strides": (2, 2)}),
    "r3d50_keras": (
        "r3d50",
        {"padding": "symmetric", "stride_on": "temporal", "input_scaling": "caffe"},
    ),
    "s3d_g": ("s3d_g", {}),
    "s3d_g_cell": ("s3d_g", {"gating": "cell", "temporal_batch_norm": True, "head": "mean"}),
    "s3d_torchvision": (
        "s3d",
        {
            "stem_temporal_kernel": 7,
            "separable_stem": True,
            "temporal_batch_norm": True,
            "batch_norm_scale": True,
            "padding": "symmetric",
            "input_scaling": "torchvision",
            "head": "windows",
        },
    ),
    "i3d_g": ("i3d_g", {}),
    "i3d": ("i3d", {"batch_norm_scale": True, "head": "frame_pairs"}),
}
MAIN = ("r3d50_g", "s3d_g", "i3d_g")
every_model = pytest.mark.parametrize("name", MODELS)
main_models = pytest.mark.parametrize("name", MAIN)


def make(name, stream="rgb", **changes):
    backbone, options = MODELS[name]
    return build_model(backbone, NUM_CLASSES, stream, **{**TINY, **options, **changes})


def random_clip(stream="rgb", size=CLIP, seed=0):
    rng = np.random.default_rng(seed)
    if stream == "flow":
        return rng.normal(0, 8, (*size, 2)).astype(np.float32)
    return rng.integers(0, 256, (*size, STREAM_CHANNELS[stream]), np.uint8)


@pytest.fixture(scope="module")
def settled():
    """Backbone -> an RGB model whose batch norm has the statistics of `random_clip()`."""
    tf_keras.utils.set_random_seed(3)
    models = {name: make(name) for name in MAIN}
    for model in models.values():
        model(random_clip(), training=True)
    return models


@pytest.mark.parametrize("stream", STREAMS)
@main_models
def test_sees_every_stream(name, stream):
    model = make(name, stream)
    logits = model(random_clip(stream), training=True)
    assert logits.shape == (CLIP[0], NUM_CLASSES)
    assert np.ptp(logits, axis=0).min() > 0, "clips are told apart"
    assert (model.stream, model.num_classes, model.backbone) == (stream, NUM_CLASSES, name)


@every_model
def test_gradient_reaches_every_trainable_weight(name):
    model = make(name)
    with tf.GradientTape() as tape:
        logits = model(random_clip(), training=True)
        loss = tf.reduce_sum(logits * np.random.default_rng(0).normal(size=logits.shape))
    gradients = tape.gradient(loss, model.trainable_variables)
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert gradient is not None, variable.name
        assert np.isfinite(gradient).all(), variable.name
        assert np.abs(gradient).max() > 0, variable.name


@every_model
def test_round_trips_its_configuration(name):
    backbone, options = MODELS[name]
    model = make(name, "flow", dropout_rate=0.25, weight_decay=0.01)
    config = json.loads(json.dumps(model.get_config()))
    copy = type(model).from_config(config)
    assert copy.get_config() == model.get_config()
    assert copy.backbone == backbone
    copy.build_for_stream()
    assert [v.shape for v in copy.variables] == [v.shape for v in model.variables]
    for option, value in {**TINY, **options, "dropout_rate": 0.25, "weight_decay": 0.01}.items():
        assert getattr(copy, option) == value
    arguments = {*list_options(backbone), "num_classes", "stream", "name"}
    assert set(config) == arguments
    constructor = inspect.signature(type(model)).parameters
    assert {name for name in constructor if name != "kwargs"} <= arguments


@main_models
def test_call_and_endpoints_are_one_computation(name, settled):
    model, clip = settled[name], random_clip()
    endpoints = model.endpoints(clip, training=False)
    np.testing.assert_array_equal(model(clip, training=False), endpoints["logits"])
    features = endpoints["features"]
    np.testing.assert_allclose(
        endpoints["logits"],
        features @ model.classifier.kernel + model.classifier.bias,
        rtol=1e-4,
        atol=1e-5,
    )


@main_models
def test_bytes_and_fractions_give_equal_logits(name, settled):
    clip = random_clip()
    np.testing.assert_allclose(
        settled[name](clip), settled[name](clip / np.float32(255)), rtol=1e-3, atol=1e-4
    )


@main_models
def test_takes_any_batch_frames_height_and_width(name, settled):
    model = settled[name]
    signature = tf.TensorSpec([None, None, None, None, 3], tf.uint8)
    traced = tf.function(
        lambda clip: model(clip, training=False), input_signature=[signature], autograph=False
    )
    for size in [(2, 1, 36, 44), (1, 11, 64, 33)]:
        clip = random_clip(size=size)
        np.testing.assert_allclose(traced(clip), model(clip), rtol=1e-3, atol=1e-4)


@main_models
def test_dropout_acts_in_training_only_and_never_on_features(name):
    model = make(name, dropout_rate=0.9)
    for layer in model.submodules:  # one behaviour of batch norm in both modes
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.trainable = False
    model.classifier.kernel.assign(tf.ones_like(model.classifier.kernel))
    clip = random_clip()
    inference = model.endpoints(clip, training=False)
    training = [model.endpoints(clip, training=True) for _ in range(2)]
    np.testing.assert_allclose(training[0]["features"], inference["features"], rtol=1e-4)
    assert not np.allclose(training[0]["logits"], training[1]["logits"], rtol=1e-3, atol=0)


@main_models
def test_losses_hold_half_the_decayed_square_sum_of_every_kernel(name):
    model = make(name, weight_decay=0.02)
    kernels = [v for v in model.trainable_variables if v.name.split("/")[-1] == "kernel:0"]
    assert len(kernels) == len(model.losses) > 50
    expected = 0.01 * sum(np.sum(np.square(kernel)) for kernel in kernels)
    assert float(tf.add_n(model.losses)) == pytest.approx(expected, rel=1e-5)
    with tf.GradientTape() as tape:
        loss = tf.add_n(model.losses)
    gradients = tape.gradient(loss, kernels)
    np.testing.assert_allclose(gradients[3], 0.02 * kernels[3], rtol=1e-5)
    assert make(name, weight_decay=0.0).losses == []


def _sums_in_float32() -> bool:
    """Whether a bfloat16 convolution rounds its result alone: TensorFlow's does with AVX-512."""
    rng = np.random.default_rng(0)
    frames = tf.cast(rng.normal(size=(1, 4, 12, 12, 32)), tf.bfloat16)
    kernel = tf.cast(rng.normal(size=(3, 3, 3, 32, 8)), tf.bfloat16)
    strides = [1, 1, 1, 1, 1]
    exact = tf.nn.conv3d(tf.cast(frames, tf.float32), tf.cast(kernel, tf.float32), strides, "SAME")
    found = tf.cast(tf.nn.conv3d(frames, kernel, strides, "SAME"), tf.float32)
    return bool(tf.norm(found - exact) < 2**-8 * tf.norm(exact))


@main_models
def test_logits_are_float32_in_mixed_bfloat16(name, settled, mixed_bfloat16):
    model = make(name)
    model.set_weights(settled[name].get_weights())
    endpoints = model.endpoints(random_clip(), training=False)
    logits = endpoints.pop("logits")
    assert logits.dtype == endpoints.pop("features").dtype == tf.float32
    assert {tensor.dtype for tensor in endpoints.values()} == {tf.bfloat16}
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    if not _sums_in_float32():
        pytest.skip("this processor adds up bfloat16 convolutions in bfloat16")
    # Rounding grows from stage to stage on noise; the first stages show that nothing else does.
    exact = settled[name].endpoints(random_clip(), training=False)
    for stage in list(endpoints)[:3]:
        error = tf.norm(tf.cast(endpoints[stage], tf.float32) - exact[stage])
        assert error < 0.03 * tf.norm(exact[stage])


@main_models
def test_checkpoint_restores_the_logits(name, settled, tmp_path):
    path = tf.train.Checkpoint(model=settled[name]).write(str(tmp_path / "weights"))
    copy = make(name)
    clip = random_clip()
    assert not np.allclose(copy(clip), settled[name](clip), rtol=1e-2)
    tf.train.Checkpoint(model=copy).read(path).assert_consumed()
    np.testing.assert_array_equal(copy(clip), settled[name](clip))


@pytest.mark.parametrize(
    "name", ["s3d_g", *(pytest.param(n, marks=pytest.mark.slow) for n in ("r3d50_g", "i3d_g"))]
)
def test_xla_gives_the_logits_of_the_plain_graph(name, settled):
    model, clip = settled[name], random_clip(size=(2, 9, 32, 40))
    compiled = tf.function(
        lambda inputs: model(inputs, training=False), jit_compile=True, autograph=False
    )
    expected = model(clip)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(compiled(clip), expected, atol=1e-4 * scale)


def test_the_set_covers_every_backbone():
    assert {backbone for backbone, _ in MODELS.values()} == set(BACKBONES) - {"tiny"}
