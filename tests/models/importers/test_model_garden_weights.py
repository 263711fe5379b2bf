"""R3D50 against `ResNet3D` of TensorFlow's Model Garden, through its own checkpoints."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.importers import import_model
from perfnet_tf.models.importers.garden_training import Training, read_training
from perfnet_tf.models.resnet3d import TEMPORAL_KERNELS

CLASSES = 7


def build(gated, **options):
    """Model Garden's classifier, with weights and statistics that tell layers apart."""
    from official.vision.modeling.backbones.resnet_3d import ResNet3D
    from official.vision.modeling.video_classification_model import VideoClassificationModel

    tf_keras.utils.set_random_seed(5)
    backbone = ResNet3D(
        50,
        **{
            "temporal_strides": [1, 1, 1, 1],
            "temporal_kernel_sizes": TEMPORAL_KERNELS["table1"],
            "use_self_gating": [gated] * 4,
            # Both are 2 by default, also in configurations that mean to keep every frame.
            "stem_conv_temporal_stride": 1,
            "stem_pool_temporal_stride": 1,
            "norm_momentum": 0.9,
            "norm_epsilon": 1e-5,
            **options,
        },
    )
    specs = {"image": tf_keras.layers.InputSpec(shape=[None, None, None, None, 3])}
    network = VideoClassificationModel(backbone, CLASSES, specs, kernel_initializer="random_normal")
    rng = np.random.default_rng(0)
    for layer in backbone.submodules:
        if not layer.weights:  # shortcuts that cells do not use
            continue
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.5, 1.5, size) for _ in range(4)])
        elif type(layer).__name__ == "SelfGating":
            kernel, bias = layer.get_weights()
            layer.set_weights([rng.normal(0, 0.1, kernel.shape), rng.normal(size=bias.shape)])
    return network


@pytest.fixture(scope="module")
def gated():
    return build(gated=True)


@pytest.fixture(scope="module")
def gated_file(gated, tmp_path_factory):
    """As Model Garden's trainer saves: with optimizer and step."""
    optimizer = tf_keras.optimizers.legacy.SGD(0.1, momentum=0.9)
    optimizer._create_slots(gated.trainable_variables[:2])
    checkpoint = tf.train.Checkpoint(
        model=gated, optimizer=optimizer, global_step=tf.Variable(3, dtype=tf.int64)
    )
    return checkpoint.save(str(tmp_path_factory.mktemp("garden") / "ckpt"))


def compare(theirs, imported):
    clip = np.random.default_rng(1).integers(0, 256, (3, 5, 32, 48, 3), np.uint8)
    normalized = clip / np.float32(127.5) - 1
    imported.model.dropout.rate = 0.0
    for training in (False, True):
        expected = theirs({"image": normalized}, training=training)
        logits = imported.model(clip, training=training)
        difference = tf.reduce_max(tf.abs(logits - expected))
        assert difference < 1e-4 * tf.reduce_max(tf.abs(expected))
    # The step in training mode moved the statistics alike.
    norm = imported.model.blocks[3].cells[2].expand.norm
    block = [layer for layer in theirs.layers[1].layers if hasattr(layer, "_norm3")][-1]
    np.testing.assert_allclose(norm.moving_variance, block._norm3.moving_variance, rtol=1e-3)


def test_logits_with_self_gating_equal_model_gardens(gated, gated_file):
    imported = import_model("model_garden_r3d50", gated_file)
    assert imported.config.model.backbone == "r3d50_g"
    assert imported.config.model.options == {"gating": "block_residual"}
    assert len(imported.report.used) == len(imported.model.variables)
    assert any(".OPTIMIZER_SLOT" in name for name in imported.report.unused)
    compare(gated, imported)


def test_logits_without_gating_equal_model_gardens_at_its_default_strides(tmp_path):
    theirs = build(
        gated=False,
        stem_conv_temporal_stride=2,
        stem_pool_temporal_stride=2,
        temporal_kernel_sizes=TEMPORAL_KERNELS["caption"],
        norm_epsilon=1e-3,
    )
    theirs.save_weights(str(tmp_path / "weights"))
    imported = import_model(
        "model_garden_r3d50",
        tmp_path / "weights",
        options={"stem_temporal_strides": [2, 2], "batch_norm_epsilon": 1e-3},
    )
    assert any("no tensor determines" in note for note in imported.report.notes)
    assert imported.config.model.backbone == "r3d50"
    assert imported.config.model.options["temporal_kernels"] == "caption"
    compare(theirs, imported)


def write_params(folder, **changes):
    """What Model Garden's trainer writes of its Kinetics recipe."""
    from official.core import train_utils
    from official.vision.configs import video_classification

    recipe = video_classification.video_classification_kinetics400()
    recipe.override(changes)
    train_utils.serialize_config(recipe, str(folder))


def test_the_trainers_configuration_determines_what_no_tensor_does(gated_file, tmp_path):
    best = tmp_path / "best_ckpt"
    best.mkdir()
    for file in pathlib.Path(gated_file).parent.glob("ckpt*"):
        (best / file.name).write_bytes(file.read_bytes())
    write_params(tmp_path, task={"train_data": {"feature_shape": (32, 224, 192, 3)}})
    imported = import_model("model_garden_r3d50", best)
    model = imported.model
    assert model.stem_temporal_strides == (2, 2)
    assert (model.batch_norm_momentum, model.batch_norm_epsilon) == (0.9, 1e-5)
    assert (model.input_scaling, model.dropout_rate) == ("unit", 0.2)
    assert imported.config.clip == ClipConfig(32, 224, 192)
    assert any("as in" in note and "params.yaml" in note for note in imported.report.notes)
    chosen = import_model("model_garden_r3d50", best, options={"stem_temporal_strides": [2, 1]})
    assert chosen.model.stem_temporal_strides == (2, 1)
    (tmp_path / "params.yaml").write_text("prepare: {seed: 3}")  # another tool's
    assert read_training(best / "ckpt-1") == Training()
    (tmp_path / "params.yaml").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="params.yaml next to the checkpoint is not a config"):
        import_model("model_garden_r3d50", best)


@pytest.mark.slow
def test_gates_may_stand_where_table_1_has_them(gated, gated_file):
    imported = import_model("model_garden_r3d50", gated_file, options={"gating": "block"})
    assert any("the gates moved" in note for note in imported.report.notes)
    kernel = imported.model.blocks[3].gating.gate.kernel
    block = [layer for layer in gated.layers[1].layers if hasattr(layer, "_norm3")][-1]
    np.testing.assert_array_equal(kernel, block._self_gating.get_weights()[0][0, 0, 0])


@pytest.mark.slow
def test_a_backbone_alone_leaves_the_classifier_fresh(gated, tmp_path):
    tf.train.Checkpoint(**gated.checkpoint_items).write(str(tmp_path / "backbone"))
    imported = import_model("model_garden_r3d50", tmp_path / "backbone", classes=["run", "sit"])
    assert imported.classes == ("run", "sit")
    assert set(imported.report.initial) == {"classifier.kernel", "classifier.bias"}


def test_a_reading_that_does_not_fit_is_refused_with_the_one_that_does(gated_file):
    with pytest.raises(InputError) as refusal:
        import_model("model_garden_r3d50", gated_file, options={"temporal_kernels": "caption"})
    message = str(refusal.value)
    assert "layer_with_weights-15/_temporal_conv/kernel is [1, 1, 1, 1024, 512]" in message
    assert "res5.cell1.temporal.kernel is [3, 1, 1, 1024, 512]" in message
    assert '`options` temporal_kernels="table1"' in message


@pytest.mark.slow
def test_gates_that_would_be_lost_are_refused(gated_file):
    with pytest.raises(InputError, match=r'_self_gating.*`options` gating="block_residual"'):
        import_model("model_garden_r3d50", gated_file, options={"gating": "none"})


def test_another_checkpoint_is_refused(tmp_path):
    path = tf.train.Checkpoint(step=tf.Variable(1)).write(str(tmp_path / "other"))
    with pytest.raises(InputError, match="holds one backbone.*with 0 of them"):
        import_model("model_garden_r3d50", path)
