import importlib.util
import json

import numpy as np
import pytest
import resized_inputs
import tensorflow as tf
import tf_keras
from prepared_clips import make_clip, write_dataset
from small_clips import write_video
from tiny_network import build_tiny

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.preparation.frame_sources import sources_of_frames
from perfnet_tf.recognizers.frozen import frozen_function
from perfnet_tf.recognizers.frozen_graph import freeze, frozen_graph
from perfnet_tf.recognizers.info import describe_quantization, read_info
from perfnet_tf.saved_model import calibration, export_saved_model
from perfnet_tf.saved_model.calibration import CalibrationData, read_calibration, write_calibration
from perfnet_tf.saved_model.conversion import Conversion
from perfnet_tf.saved_model.int8_tflite import CALIBRATION, write_int8_tflite
from perfnet_tf.saved_model.planar import replay_planar
from perfnet_tf.saved_model.quantization import (
    find_values,
    measure_ranges,
    replay_quantized,
)
from perfnet_tf.saved_model.tflite import open_tflite

CLASSES = ("class0", "class1", "class2")
CONFIG = ExperimentConfig(clip=ClipConfig(6, 24, 32))


def trace(function, shape):
    return tf.function(
        function, autograph=False, input_signature=[tf.TensorSpec(shape)]
    ).get_concrete_function()


def types_of(network):
    waiting, found = [output.op for output in network.outputs], {}
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs]
    return [operation.type for operation in found.values()]


def difference(values, reference):
    return np.abs(values - reference).max() / np.abs(reference).max()


RNG = np.random.default_rng(0)
KERNELS = [RNG.normal(size=(4, 3)).astype(np.float32) * scale for scale in (1, 9)]
BIAS = np.array([1.0, 2.0, 3.0], np.float32)


@pytest.fixture(scope="module")
def branches():
    """Two convolutions of different ranges, joined; then a gate and a classifier."""
    one, other = (kernel[None, None] for kernel in KERNELS)
    gate, classifier = (RNG.normal(size=(6, n)).astype(np.float32) for n in (6, 5))

    def network(clip):
        small = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(clip, one, 1, "SAME"), BIAS))
        large = tf.nn.relu(tf.nn.conv2d(clip, other, 1, "SAME"))
        joined = tf.concat([small, large], axis=-1)
        mean = tf.reduce_mean(joined, [1, 2], keepdims=True)
        gated = joined * tf.sigmoid(tf.nn.conv2d(mean, gate[None, None], 1, "SAME"))
        pooled = tf.reduce_mean(gated, [1, 2], keepdims=True)
        return [tf.nn.conv2d(pooled, classifier[None, None], 1, "SAME")]

    return trace(network, [2, 5, 7, 4])


def test_a_value_with_a_scale_is_the_last_of_what_runtimes_fuse(branches):
    values = find_values(branches)
    kinds = [branches.graph.get_operation_by_name(name).type for name in values.names]
    # Not: the convolutions before ReLUs, and the classifier, which the logits are.
    assert kinds == ["Relu", "Relu", "Mean", "Conv2D", "Sigmoid", "Mul", "Mean"]


def test_joined_values_share_the_wider_range_and_ranges_hold_zero(branches):
    rng = np.random.default_rng(1)
    clips = [rng.uniform(0.2, 1, (2, 5, 7, 4)).astype(np.float32) for _ in range(3)]
    values = find_values(branches)
    small, large, mean, *_ = values.names
    ranges = measure_ranges(branches, values, clips)
    most = max(np.max(np.maximum(clip @ KERNELS[0] + BIAS, clip @ KERNELS[1])) for clip in clips)
    assert ranges[small] == ranges[large] == (0.0, pytest.approx(most, rel=1e-6))
    assert ranges[mean][0] <= 0 < ranges[mean][1] < most


def test_a_marked_value_is_rounded_to_256_steps_of_its_range():
    network = trace(lambda x: [tf.nn.max_pool2d(tf.nn.relu(x), 1, 1, "SAME")], [1, 1, 4, 1])
    (name,) = (op.name for op in network.graph.get_operations() if op.type == "Relu")
    rounded = tf.function(lambda x: replay_quantized(network, x, {name: (0.0, 25.5)}))
    (result,) = rounded(tf.reshape([-3.0, 0.12, 7.26, 99.0], [1, 1, 4, 1]))
    np.testing.assert_allclose(np.ravel(result), [0, 0.1, 7.3, 25.5], atol=1e-5)


def test_kernels_are_rounded_by_a_scale_for_each_channel():
    kernel = np.array([[1.27, 127.0], [0.014, 0.4]], np.float32)[None, None]
    network = trace(lambda x: [tf.nn.conv2d(x, kernel, 1, "SAME")], [1, 1, 2, 2])
    rounded = tf.function(lambda x: replay_quantized(network, x, {}))
    (result,) = rounded(tf.reshape(np.eye(2, dtype=np.float32), [1, 1, 2, 2]))
    np.testing.assert_allclose(result[0, 0], [[1.27, 127.0], [0.01, 0.0]], atol=1e-5)


@pytest.mark.slow
def test_nothing_but_reshapes_comes_between_a_planar_convolution_and_its_bias(trained_looking):
    config = ModelConfig("s3d_g", width_multiplier=0.0625)
    model = trained_looking(build_from_config(config, len(CLASSES)))
    network = frozen_function(freeze(fold_batch_norm(model)).with_constants())
    planar = trace(lambda clip: replay_planar(network, clip), [1, 9, 64, 80, 3])
    operations = [op for op in planar.graph.get_operations() if op.type == "BiasAdd"]
    assert operations and all(op.inputs[0].op.type == "Conv2D" for op in operations)
    assert not {"MatMul", "Conv3D", "MaxPool3D"} & set(types_of(planar))
    clip = np.random.default_rng(0).random((1, 9, 64, 80, 3), np.float32)
    for value, expected in zip(planar(tf.constant(clip)), network(tf.constant(clip)), strict=True):
        assert difference(value, expected) < 1e-5
    values = find_values(planar)
    ranges = measure_ranges(planar, values, [clip])
    rounded = tf.function(lambda clip: replay_quantized(planar, clip, ranges))
    logits = network(tf.constant(clip))[1]
    assert 1e-4 < difference(rounded(tf.constant(clip))[1], logits) < 0.1


def test_silent_values_can_be_marked():
    kernel = np.ones((1, 1, 1, 1), np.float32)
    network = trace(lambda x: [tf.nn.conv2d(tf.nn.relu(x), kernel, 1, "SAME")], [1, 1, 4, 1])
    clip = -np.ones((1, 1, 4, 1), np.float32)
    values = find_values(network)
    assert len(values.names) == 1
    ranges = measure_ranges(network, values, [clip])
    (result,) = tf.function(lambda x: replay_quantized(network, x, ranges))(tf.constant(clip))
    np.testing.assert_array_equal(result, np.zeros((1, 1, 4, 1)))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    def clips(first, count):
        return [make_clip(first + i, i % 3, frames=9, height=48, width=64) for i in range(count)]

    folder = tmp_path_factory.mktemp("records") / "tiny"
    return write_dataset(folder, {"train": clips(0, 130), "test": clips(200, 5)}, num_classes=3)


def test_clips_come_evenly_from_all_of_a_split(records, tmp_path):
    data = CalibrationData.open(records, CONFIG, {})
    described = write_calibration(data, tmp_path / "clips.npy")
    assert described == {"kind": "records", "name": "tiny", "split": "train", "num_clips": 44}
    clips = list(read_calibration(tmp_path / "clips.npy"))
    assert {(clip.shape, clip.dtype.name) for clip in clips} == {((1, 6, 24, 32, 3), "float32")}
    assert max(clip.max() for clip in clips) <= 1
    assert len(list(data.clips("test", 100))) == 5
    labels = [int(label[0]) for _, label in data.clips("test", 100)]
    assert sorted(labels) == [0, 0, 1, 1, 2]


def test_networks_of_every_stream_are_calibrated_on_records(records):
    for stream, channels in (("rgb", 3), ("flow", 2), ("pose", 3)):
        data = CalibrationData.open(records, CONFIG.replace(stream=stream), {})
        clip, _ = next(data.clips("test", 2))
        assert clip.shape == (1, 6, 24, 32, channels)


def test_a_calibration_video_that_keeps_its_own_rate_is_read_for_as_many_seconds(
    tmp_path, monkeypatch
):
    write_video(tmp_path / "a.mp4", frames=100, fps=50)
    seen = []

    def note(frames, rate, streams, **options):
        seen.append((len(frames), rate))
        return sources_of_frames(frames, rate, streams, **options)

    monkeypatch.setattr(calibration, "sources_of_frames", note)
    monkeypatch.setattr(calibration, "_MAX_SECONDS", 1.5)
    data = CalibrationData.open(tmp_path / "a.mp4", CONFIG, {"fps": None, "short_side": 30})
    assert [clip.shape for clip, _ in data.clips("", 1)] == [(1, 6, 24, 32, 3)]
    assert seen == [(75, 50.0)]


def test_wrong_calibrations_are_refused_before_any_work(records, tmp_path, tiny):
    def export(message, **options):
        with pytest.raises(InputError, match=message):
            export_saved_model(tiny, tmp_path / "out", classes=CLASSES, config=CONFIG, **options)
        assert not (tmp_path / "out").exists()

    export("Give both", int8=True)
    export("Give both", calibration=records)
    export("does not exist", int8=True, calibration=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    export("must hold videos", int8=True, calibration=tmp_path / "empty")
    (tmp_path / "video.mp4").touch()
    with pytest.raises(InputError, match="calibrated on records"):
        CalibrationData.open(tmp_path / "video.mp4", CONFIG.replace(stream="pose"), {})


@pytest.mark.slow
def test_openvinos_file_keeps_the_range_of_a_single_clip(tmp_path, tiny):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    from perfnet_tf.saved_model.int8_openvino import open_openvino, write_int8_openvino

    rng = np.random.default_rng(0)
    shape = (1, 6, 24, 32, 3)
    dark = rng.integers(0, 26, (30, *shape[1:]), np.uint8)
    bright = rng.integers(0, 256, (1, *shape[1:]), np.uint8)
    np.save(tmp_path / "clips.npy", np.concatenate([dark, bright]))
    network = frozen_graph(tiny, "float32")
    options = {CALIBRATION: str(tmp_path / "clips.npy")}
    write_int8_openvino(Conversion(network, tmp_path / "model.xml", (shape,), options))
    *_, clip = read_calibration(tmp_path / "clips.npy")
    expected = frozen_function(network.with_constants())(tf.constant(clip))[1]
    assert difference(open_openvino(tmp_path / "model.xml")(clip), expected) < 0.02


@pytest.fixture(scope="module")
def tiny():
    tf_keras.utils.set_random_seed(0)
    return build_tiny(CONFIG.model, len(CLASSES))


@pytest.mark.slow
def test_an_int8_file_is_near_the_network_and_says_on_what_it_was_calibrated(
    records, tmp_path, tiny, monkeypatch
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "nncf" else find(name)
    )
    path = export_saved_model(
        tiny,
        tmp_path / "model",
        classes=CLASSES,
        config=CONFIG,
        inference_only=True,
        int8=True,
        calibration=records,
    )
    assert sorted(file.name for file in path.glob("model_*")) == ["model_full_int8.tflite"]
    predict = open_tflite(path / "model_full_int8.tflite")
    data = CalibrationData.open(records, CONFIG, {})
    clips = [(clip / np.float32(255), label) for clip, label in data.clips("test", 10)]
    expected = np.concatenate([tiny(clip, training=False) for clip, _ in clips])
    logits = np.concatenate([predict(clip) for clip, _ in clips])
    assert 0 < difference(logits, expected) < 0.05
    info = read_info(path)
    measured = info.quantization
    assert measured["calibration"] == {
        "kind": "records",
        "name": "tiny",
        "split": "train",
        "num_clips": 44,
    }
    assert (measured["split"], measured["num_clips"]) == ("test", 5)
    shown = info.parity["model_full_int8.tflite"]
    assert shown == pytest.approx(difference(logits, expected), abs=1e-3)
    labels = np.concatenate([label for _, label in clips])
    for name, values in (("float32", expected), ("model_full_int8.tflite", logits)):
        top1 = measured["accuracy"][name]["top1"]
        assert top1 == pytest.approx((values.argmax(-1) == labels).mean())
    first, second = describe_quantization(measured)
    assert first == "Quantised on 44 clips of tiny (records, split train)."
    assert second.startswith("model_full_int8.tflite: 5 of 5 clips of split test")
    interpreter = tf.lite.Interpreter(str(path / "model_full_int8.tflite"))
    kernels = [d for d in interpreter.get_tensor_details() if len(d["shape"]) == 4]
    assert any(
        detail["dtype"] is np.int8 and len(detail["quantization_parameters"]["scales"]) == 8
        for detail in kernels
    )


@pytest.mark.slow
@pytest.mark.data
def test_quantised_files_are_near_the_network_on_real_clips(real_data, config, tmp_path, tiny):
    videos = real_data / "videos" / "ucf101_8class" / "Lunges"
    path = export_saved_model(
        tiny, tmp_path / "model", classes=CLASSES, config=config, int8=True, calibration=videos
    )
    info = read_info(path)
    assert info.quantization["calibration"]["kind"] == "videos"
    assert info.quantization["accuracy"] == {}
    assert "split" not in info.quantization
    for name in info.quantization["logits_differ"]:
        assert 0 < info.parity[name] < 0.05
    assert json.loads((path / "assets" / "model.json").read_text())["quantization"]


@pytest.fixture(scope="module")
def int8_file(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    clips = np.random.default_rng(0).random((2, 6, 24, 32, 3), np.float32)
    np.save(folder / "clips.npy", clips)
    conversion = Conversion(
        frozen_graph(tiny, "float32"),
        folder / "model.tflite",
        ((1, 6, 24, 32, 3),),
        {CALIBRATION: str(folder / "clips.npy")},
    )
    write_int8_tflite(conversion)
    assert difference(open_tflite(conversion.path)(clips[:1]), tiny(clips[:1])) < 0.05
    return conversion.path


@pytest.mark.parametrize("scales", resized_inputs.SCALES)
def test_an_int8_file_whose_input_is_resized_fails(int8_file, scales):
    resized_inputs.assert_refused(int8_file, scales)
