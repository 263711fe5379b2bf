import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ClipConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.frozen import freeze, input_specs
from perfnet_tf.saved_model import export_saved_model, formats
from perfnet_tf.saved_model.planar import replay_planar

CLASSES = ("Clapping", "Jumping", "Running")
SHAPE = (1, 9, 64, 80, 3)


def difference(values, reference):
    return np.abs(values - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize(
    "backbone",
    ["s3d_g", *(pytest.param(name, marks=pytest.mark.slow) for name in ("r3d50_g", "i3d_g"))],
)
def test_tflite_files_give_the_logits_of_the_keras_model(
    tmp_path, config, trained_looking, backbone
):
    config = config.replace(
        model=ModelConfig(backbone, width_multiplier=0.0625), eval_clip=ClipConfig(9, 64, 80)
    )
    model = trained_looking(build_from_config(config.model, len(CLASSES)))
    # Frozen: a SavedModel that can be trained takes half a minute more, and is tested elsewhere.
    path = export_saved_model(
        model,
        tmp_path / "model",
        classes=CLASSES,
        config=config,
        inference_only=True,
        tflite=True,
    )
    clip = np.random.default_rng(0).random(SHAPE, np.float32)
    named = model.endpoints(clip)
    parity = json.loads((path / "assets" / "model.json").read_text())["parity"]
    sizes = []
    for weights, tolerance in (("float32", 1e-4), ("float16", 0.01), ("int8", 0.2)):
        file = path / f"model_{weights}.tflite"
        interpreter = tf.lite.Interpreter(str(file))
        outputs = interpreter.get_signature_runner()(frames=clip)
        assert difference(outputs["logits"], named["logits"]) < tolerance
        assert difference(outputs["features"], named["features"]) < tolerance
        assert 0 <= parity[file.name] < tolerance
        sizes.append(file.stat().st_size)
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "strides"),
    [
        ((1, 3, 3), (1, 2, 2)),
        ((3, 1, 1), (2, 1, 1)),
        ((3, 1, 1), (1, 2, 2)),
        ((1, 1, 1), (1, 2, 2)),
        ((3, 5, 7), (2, 2, 1)),
        ((5, 3, 3), (1, 2, 2)),
        ((2, 2, 2), (2, 2, 2)),
    ],
)
def test_planar_operations_equal_those_of_three_dimensions(kernel, strides, padding):
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(*kernel, 4, 6)).astype(np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None, 4])])
    def network(video):
        convolved = tf.nn.conv3d(video, weights, [1, *strides, 1], padding)
        return convolved, tf.nn.max_pool3d(video, kernel, strides, padding)

    concrete = network.get_concrete_function()
    for frames in (6, 7):
        video = tf.constant(rng.normal(size=(2, frames, 11, 14, 4)), tf.float32)
        planar = tf.function(lambda clip: replay_planar(concrete, clip))
        graph = planar.get_concrete_function(tf.TensorSpec(video.shape)).graph
        assert not any("3D" in operation.type for operation in graph.get_operations())
        for value, expected in zip(planar(video), network(video), strict=True):
            assert value.shape == expected.shape
            assert difference(value, expected) < 1e-5


def test_onnx_gives_the_logits_of_the_keras_model_at_any_size(small_model, config, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    path = export_saved_model(
        small_model, tmp_path / "model", classes=CLASSES, config=config, onnx=True
    )
    model = (path / "model.onnx").read_bytes()
    for shape in ((1, 8, 64, 64, 3), (3, 13, 50, 67, 3)):
        clip = np.random.default_rng(0).random(shape, np.float32)
        assert difference(formats.run_onnx(model, clip), small_model(clip)) < 1e-4
    parity = json.loads((path / "assets" / "model.json").read_text())["parity"]
    assert 0 <= parity["model.onnx"] < 1e-4


def test_onnx_without_its_packages_is_refused_before_any_work(
    small_model, config, tmp_path, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else find(name)
    )
    with pytest.raises(InputError, match=r"tf2onnx.*perfnet-tf\[onnx\]"):
        export_saved_model(
            small_model, tmp_path / "model", classes=CLASSES, config=config, onnx=True
        )
    assert not (tmp_path / "model").exists()


def test_frozen_graph_has_no_variables(small_model):
    network = freeze(small_model, input_specs("rgb")[0])
    assert not network.captured_inputs
