import dataclasses
import importlib.util
import json
import re
import signal
import subprocess

import numpy as np
import pytest
import resized_inputs
import tensorflow as tf
import tf_keras
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ModelConfig
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import freeze
from perfnet_tf.saved_model import conversions, export_saved_model
from perfnet_tf.saved_model.onnx_file import open_onnx
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.saved_model.tflite import open_tflite

CLASSES = ("Clapping", "Jumping", "Running")
SHAPE = (1, 9, 64, 80, 3)


@pytest.fixture(scope="module")
def tiny(config):
    tf_keras.utils.set_random_seed(0)
    return build_tiny(config.model, len(CLASSES))


def difference(values, reference):
    return np.abs(values - reference).max() / np.abs(reference).max()


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("s3d_g", "r3d50_g", "i3d_g")],
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


@pytest.mark.slow
def test_onnx_gives_the_logits_of_the_keras_model_at_any_size(tiny, config, tmp_path):
    pytest.importorskip("tf2onnx")
    pytest.importorskip("onnxruntime")
    path = export_saved_model(tiny, tmp_path / "model", classes=CLASSES, config=config, onnx=True)
    for shape in ((1, 8, 64, 64, 3), (3, 13, 50, 67, 3)):
        clip = np.random.default_rng(0).random(shape, np.float32)
        assert difference(open_onnx(path / "model.onnx")(clip), tiny(clip)) < 1e-4
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
    network = frozen_function(freeze(small_model).with_constants())
    assert not network.captured_inputs
    clip = np.random.default_rng(0).random((1, 5, 20, 30, 3), np.float32)
    assert difference(network(tf.constant(clip))[1], small_model(clip)) < 1e-5


@pytest.mark.slow
def test_a_file_that_fails_is_named_and_the_others_are_kept(
    tiny, config, tmp_path, monkeypatch, capfd
):
    kept = conversions.FORMATS["tflite"]
    unknown = dataclasses.replace(kept[0], file="model.unknown")  # the process lacks it
    monkeypatch.setitem(conversions.FORMATS, "tflite", (*kept, unknown))
    with pytest.raises(FailureError, match=r"model\.unknown: its process ended") as raised:
        export_saved_model(
            tiny, tmp_path / "model", classes=CLASSES, config=config, onnx=False, tflite=True
        )
    assert "tflite" not in str(raised.value)
    assert not re.search(r"^[IWE]\d{4} |XNNPACK", capfd.readouterr().err, re.MULTILINE)
    assert not (tmp_path / "model" / "model.unknown").exists()
    parity = json.loads((tmp_path / "model" / "assets" / "model.json").read_text())["parity"]
    assert set(parity) == {"saved_model", *(entry.file for entry in kept)}
    for entry in kept:
        assert (tmp_path / "model" / entry.file).stat().st_size > 1000
    assert tf.saved_model.load(str(tmp_path / "model")).signatures


@pytest.mark.parametrize(
    ("status", "reason"), [(-signal.SIGKILL, "out of memory"), (3, "status 3: no such operation")]
)
def test_a_converter_that_ends_its_process_is_reported(
    tiny, config, tmp_path, monkeypatch, status, reason
):
    monkeypatch.setattr(
        conversions.subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(command, status, "", "no such operation"),
    )
    found = conversions.write_formats(tiny, tmp_path, {"tflite": [(1, 8, 32, 32, 3)]})
    assert not found.parity
    assert set(found.failures) == {entry.file for entry in conversions.FORMATS["tflite"]}
    assert all(reason in failure for failure in found.failures.values())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("model")]


@pytest.fixture(scope="module")
def two_sizes(tiny, config, tmp_path_factory):
    """An export whose TFLite files take clips of two sizes."""
    return export_saved_model(
        tiny,
        tmp_path_factory.mktemp("sizes") / "model",
        classes=CLASSES,
        config=config,
        inference_only=True,
        tflite=True,
        tflite_clip=[ClipConfig(6, 24, 32), ClipConfig(9, 40, 36)],
    )


@pytest.mark.slow
def test_sizes_are_signatures_over_the_same_weights(two_sizes, tiny):
    path = two_sizes / "model_float32.tflite"
    call = open_tflite(path)
    for shape in ((1, 6, 24, 32, 3), (1, 9, 40, 36, 3)):
        clip = np.random.default_rng(0).random(shape, np.float32)
        assert difference(call(clip), tiny(clip)) < 1e-5
    info = json.loads((two_sizes / "assets" / "model.json").read_text())
    assert info["tflite_shapes"] == {
        "serving_default": [1, 6, 24, 32, 3],
        "clip_9x40x36": [1, 9, 40, 36, 3],
    }
    assert all(0 <= difference < 0.2 for difference in info["parity"].values())
    (kernel,) = freeze(fold_batch_norm(tiny)).weights.values()
    stored = kernel.numpy().transpose(4, 1, 2, 0, 3)  # filters first, frames next to channels
    assert path.read_bytes().count(stored.tobytes()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
@pytest.mark.parametrize("scales", resized_inputs.SCALES)
def test_an_input_that_is_resized_fails(two_sizes, weights, scales):
    resized_inputs.assert_refused(two_sizes / f"model_{weights}.tflite", scales)


def test_sizes_without_tflite_and_sizes_given_twice_are_refused(tiny, config, tmp_path):
    clip = ClipConfig(6, 24, 32)
    for options, message in (
        ({"tflite_clip": [clip]}, "without `tflite`"),
        ({"tflite_clip": [clip, clip], "tflite": True}, "given once"),
    ):
        with pytest.raises(InputError, match=message):
            export_saved_model(tiny, tmp_path / "model", classes=CLASSES, config=config, **options)
