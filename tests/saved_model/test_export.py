import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
from tensorflow.python.saved_model import loader_impl

from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.saved_model import export_saved_model, load_saved_model, restore_model

CLASSES = ("Clapping", "Jumping", "Running")


def random_clip(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 64, 64, 3), (3, 16, 65, 97, 3), (1, 37, 48, 64, 3)])
def test_export_gives_the_logits_of_the_keras_model(small_model, exported, shape):
    model, path = small_model, exported
    module = hub.load(str(path))
    clip = random_clip(*shape)
    expected = model(clip, training=False).numpy()
    assert np.ptp(expected) > 1e-3
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(module(clip), expected, rtol=0, atol=tolerance)
    scaled = tf.constant(clip / np.float32(255))
    np.testing.assert_allclose(module(scaled), expected, rtol=0, atol=tolerance)
    served = module.signatures["serving_default"](frames=scaled)
    assert set(served) == {"logits", "probabilities", "features"}
    np.testing.assert_allclose(served["logits"], expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(served["probabilities"], tf.nn.softmax(expected), atol=1e-5)
    named = model.endpoints(clip, training=False)
    assert set(module.endpoints(clip)) == set(named)
    for pooled in (served["features"], module.features(clip), module.feature_extractor(clip)):
        np.testing.assert_allclose(pooled, named["features"], rtol=1e-4, atol=1e-5)


def test_batch_statistics_change_in_training_only(exported):
    module = tf.saved_model.load(str(exported))
    statistics = [v for v in module.variables if "moving" in v.name]
    assert len(statistics) >= 2
    before = [v.numpy() for v in statistics]
    module(random_clip(2, 8, 64, 64, 3), training=False)
    module.features(random_clip(2, 8, 64, 64, 3))
    for variable, value in zip(statistics, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    module(random_clip(2, 8, 64, 64, 3), training=True)
    for variable, value in zip(statistics, before, strict=True):
        assert not np.array_equal(variable, value), variable.name


def test_lists_of_variables_are_those_of_the_model(small_model, exported):
    model, path = small_model, exported
    module = tf.saved_model.load(str(path))
    assert [v.name for v in module.variables] == [v.name for v in model.variables]
    assert [v.name for v in module.trainable_variables] == [
        v.name for v in model.trainable_variables
    ]
    extractor = {v.name for v in module.feature_extractor.trainable_variables}
    head = {v.name for v in module.trainable_variables} - extractor
    assert {tuple(v.shape)[-1] for v in module.trainable_variables if v.name in head} == {3}
    assert len(head) == 2  # kernel and bias


def test_regularization_losses_are_the_models_weight_decay(small_model, exported):
    model, path = small_model, exported
    module = tf.saved_model.load(str(path))
    total = sum(loss().numpy() for loss in module.regularization_losses)
    expected = tf.add_n(model.losses).numpy()
    assert expected > 0
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    without_head = sum(loss().numpy() for loss in module.feature_extractor.regularization_losses)
    head = model.classifier.losses[0].numpy()
    np.testing.assert_allclose(without_head, expected - head, rtol=1e-6)


def test_hub_layer_trains_every_weight_on_the_models_loss(exported):
    path = exported
    layer = hub.KerasLayer(str(path), trainable=True)
    model = tf_keras.Sequential([layer])
    clips = tf.constant(random_clip(6, 9, 64, 80, 3) / np.float32(255))
    labels = tf.constant([0, 1, 2, 0, 1, 2])
    cross_entropy = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.SGD(0.1), cross_entropy)
    decay = sum(loss().numpy() for loss in layer.resolved_object.regularization_losses)
    expected = cross_entropy(labels, layer(clips, training=False)).numpy() + decay
    np.testing.assert_allclose(model.evaluate(clips, labels, verbose=0), expected, rtol=1e-5)

    before = {v.name: v.numpy() for v in layer.trainable_weights}
    history = model.fit(clips, labels, epochs=8, batch_size=6, verbose=0).history["loss"]
    assert history[-1] < history[0]
    unchanged = [v.name for v in layer.trainable_weights if np.array_equal(v, before[v.name])]
    assert not unchanged
    assert len(before) == len(layer.resolved_object.trainable_variables)


def test_hub_layer_of_the_feature_extractor_takes_another_head(exported):
    extractor = hub.load(str(exported)).feature_extractor
    layer = hub.KerasLayer(extractor, trainable=True)
    model = tf_keras.Sequential([layer, tf_keras.layers.Dense(5)])
    clips = tf.constant(random_clip(2, 8, 64, 64, 3) / np.float32(255))
    model.compile("sgd", tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = [v.numpy() for v in layer.trainable_weights]
    model.fit(clips, tf.constant([0, 4]), epochs=1, verbose=0)
    for variable, value in zip(layer.trainable_weights, before, strict=True):
        assert not np.array_equal(variable, value), variable.name


def test_export_loads_where_the_package_cannot_be_imported(exported, tmp_path):
    path = exported
    program = """
import sys
sys.modules["perfnet_tf"] = None
sys.modules["tf_keras"] = None
import numpy as np, tensorflow as tf
folder = sys.argv[1]
module = tf.saved_model.load(folder)
golden = np.load(folder + "/assets.extra/golden.npz")
np.testing.assert_allclose(module(golden["frames"]), golden["logits"], rtol=0, atol=1e-5)
print(open(module.labels_file.asset_path.numpy()).read().split())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(list(CLASSES))


def test_loaded_model_knows_labels_and_provenance(small_model, exported, config):
    loaded = load_saved_model(exported)
    assert loaded.classes == CLASSES
    assert loaded.stream == "rgb"
    assert loaded.info.experiment == config
    assert loaded.info.dataset == {"name": "toy", "fps": 12.5, "short_side": 72}
    assert loaded.info.metrics["top1"] == 0.5
    assert loaded.info.versions["tensorflow"] == tf.__version__
    clip = random_clip(1, 8, 64, 64, 3)
    np.testing.assert_allclose(loaded(clip), small_model(clip), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("backbone", "stream"),
    [("s3d_g", "flow"), pytest.param("r3d50_g", "pose", marks=pytest.mark.slow)],
)
def test_backbones_export_and_are_restored(tmp_path, config, trained_looking, backbone, stream):
    config = config.replace(stream=stream, model=ModelConfig(backbone, width_multiplier=0.0625))
    model = trained_looking(build_from_config(config.model, len(CLASSES), stream))
    export_saved_model(model, tmp_path / "model", classes=CLASSES, config=config)
    loaded = load_saved_model(tmp_path / "model")
    if stream == "flow":
        clip = np.random.default_rng(0).uniform(-30, 30, (2, 9, 64, 80, 2)).astype(np.float32)
    else:
        clip = random_clip(2, 9, 64, 80, 3)
    expected = model(clip).numpy()
    np.testing.assert_allclose(loaded(clip), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert loaded.stream == stream
    total = sum(loss().numpy() for loss in loaded.module.regularization_losses)
    np.testing.assert_allclose(total, tf.add_n(model.losses), rtol=1e-6)

    restored, labels, info = restore_model(tmp_path / "model")
    assert (labels, info.experiment) == (CLASSES, config)
    for variable, original in zip(restored.variables, model.variables, strict=True):
        np.testing.assert_array_equal(variable, original)
    assert_trains_on_every_device(tmp_path / "model")


def assert_trains_on_every_device(path):
    """No gradient made for CPUs, and no batch norm's reserve is read: GPUs keep another there."""
    library = loader_impl.parse_saved_model(str(path)).meta_graphs[0].graph_def.library
    assert not [gradient.registered_op_type for gradient in library.registered_gradients]
    nodes = [node for function in library.function for node in function.node_def]
    training = [node for node in nodes if node.op == "FusedBatchNormV3"]
    assert any("is_training" not in node.attr for node in training)  # it is True by default
    assert not [node.name for node in nodes for name in node.input if ":reserve_space" in name]


def test_output_in_use_is_refused_and_left_alone(small_model, config, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="new or an empty folder"):
        export_saved_model(small_model, tmp_path, classes=CLASSES, config=config)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_wrong_classes_are_refused(small_model, config, tmp_path):
    with pytest.raises(InputError, match="2 names, 3 logits"):
        export_saved_model(small_model, tmp_path / "m", classes=("a", "b"), config=config)
    with pytest.raises(InputError, match="one line"):
        export_saved_model(small_model, tmp_path / "m", classes=("a", "b\nc", "d"), config=config)
    with pytest.raises(InputError, match="Pass both"):
        export_saved_model(small_model, tmp_path / "m", classes=CLASSES)
    with pytest.raises(InputError, match="stream 'flow'"):
        export_saved_model(
            small_model, tmp_path / "m", classes=CLASSES, config=config.replace(stream="flow")
        )
    assert not any(tmp_path.iterdir())


def test_what_is_no_export_is_refused(exported, tmp_path):
    with pytest.raises(InputError, match="saved_model.pb"):
        load_saved_model(tmp_path / "nothing")
    plain = tf.Module()
    plain.v = tf.Variable(1.0)
    tf.saved_model.save(plain, str(tmp_path / "plain"))
    with pytest.raises(InputError, match="not one of perfnet export"):
        load_saved_model(tmp_path / "plain")


def copy_of(path: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    for file in path.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    return target


def test_damaged_exports_are_refused(exported, tmp_path):
    cut = copy_of(exported, tmp_path / "cut")
    graph = cut / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(InputError, match="is damaged"):
        load_saved_model(cut)

    bare = copy_of(exported, tmp_path / "bare")
    for file in (bare / "variables").iterdir():
        file.unlink()
    for read in (load_saved_model, restore_model):
        with pytest.raises(InputError, match="is damaged"):
            read(bare)

    for name in ("model.json", "labels.txt"):
        garbled = copy_of(exported, tmp_path / name)
        file = garbled / "assets" / name
        file.write_bytes(b"\xf5" + file.read_bytes())
        with pytest.raises(InputError, match="is damaged"):
            load_saved_model(garbled)

    later = copy_of(exported, tmp_path / "later")
    info = later / "assets" / "model.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"format": 99}))
    with pytest.raises(InputError, match="format 1. Received: 99"):
        load_saved_model(later)
    info.write_text("{}")
    with pytest.raises(InputError, match="not what perfnet export writes"):
        load_saved_model(later)
