import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from trained_looking import give_statistics

from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_model
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.models.layers import VideoBatchNormalization
from perfnet_tf.models.resnet3d import ResNet3D50


@pytest.mark.parametrize(
    ("backbone", "stream", "options"),
    [
        ("s3d_g", "rgb", {}),
        ("s3d", "rgb", {"separable_stem": True, "temporal_batch_norm": True}),
        ("s3d_g", "flow", {"batch_norm_scale": True, "gating": "cell"}),
        ("i3d", "rgb", {}),
        ("i3d_g", "flow", {"batch_norm_scale": True}),
        ("r3d50_g", "rgb", {"input_scaling": "torchvision"}),
        ("r3d50_g", "flow", {"temporal_downsampling": True}),
        ("r3d50_g", "pose", {"padding": "symmetric", "gating": "block_residual"}),
    ],
)
def test_folded_network_has_the_endpoints_of_the_network(backbone, stream, options):
    model = build_model(backbone, 5, stream, width_multiplier=0.0625, **options)
    give_statistics(model)
    rng = np.random.default_rng(1)
    if stream == "flow":
        clip = rng.uniform(-30, 30, (2, 9, 48, 65, 2)).astype(np.float32)
    else:
        clip = rng.integers(0, 256, (2, 9, 48, 65, 3), np.uint8)
    expected = model.endpoints(clip)
    folded = fold_batch_norm(model)
    assert type(folded) is type(model)
    assert not any(isinstance(layer, VideoBatchNormalization) for layer in folded.submodules)
    outputs = folded.endpoints(clip)
    assert list(outputs) == list(expected)
    for name, value in expected.items():
        scale = tf.reduce_max(tf.abs(value))
        assert scale > 1e-3
        assert tf.reduce_max(tf.abs(outputs[name] - value)) < 2e-5 * scale, name


def test_bfloat16_is_within_its_rounding_and_gives_float32():
    model = give_statistics(build_model("r3d50_g", 5, width_multiplier=0.0625))
    clip = np.random.default_rng(1).integers(0, 256, (2, 9, 48, 64, 3), np.uint8)
    expected = model.endpoints(clip)
    outputs = fold_batch_norm(model, precision="bfloat16").endpoints(clip)
    assert outputs["res5"].dtype == tf.bfloat16
    for name in ("features", "logits"):
        assert outputs[name].dtype == tf.float32
        difference = tf.reduce_max(tf.abs(outputs[name] - expected[name]))
        assert difference < 0.05 * tf.reduce_max(tf.abs(expected[name]))
    assert tf_keras.mixed_precision.global_policy().name == "float32"


def test_the_network_itself_is_not_changed():
    model = build_model("r3d50_g", 5, width_multiplier=0.0625)
    before = [value.numpy() for value in model.variables]
    folded = fold_batch_norm(model)
    folded.classifier.bias.assign_add(tf.ones(5))
    for value, old in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(value, old)


def test_shortcuts_convolutions_and_relus_are_one_operation_each_for_fusion():
    folded = fold_batch_norm(build_model("r3d50_g", 5, width_multiplier=0.0625))
    function = tf.function(folded.endpoints, autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([None] * 4 + [3])).graph
    count = [operation.type for operation in graph.get_operations()].count
    assert count("Conv3D") == 53  # 16 cells of 3, 4 shortcuts, 1 stem
    assert count("FusedBatchNormV3") == count("Conv2D") == 0


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(InputError, match="built"):
        fold_batch_norm(ResNet3D50(5))
    with pytest.raises(InputError, match="precision"):
        fold_batch_norm(build_model("r3d50_g", 5, width_multiplier=0.0625), precision="half")
