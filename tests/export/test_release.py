"""A run is exported, verified, packaged, served by a web server and loaded from it."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_hub as hub
import tf_keras
import tiny_network
from tiny_network import TINY

from perfnet_tf.config import ClipConfig, DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.info import INFO_FILE, ModelInfo
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.run_directory import load_run, save_run
from perfnet_tf.registry import PLUGINS_VARIABLE
from perfnet_tf.saved_model import export_saved_model

SCRIPTS = pathlib.Path(__file__).parents[2] / "export"
CLASSES = ("Clapping", "Jumping jacks", "Running")
METRICS = {
    "top1": 0.75,
    "top5": 1.0,
    "mean_class_accuracy": 0.7,
    "num_clips": 8,
    "dataset": "toy",
    "split": "test",
    "runs": [{"clip": "8x64x64"}],
}


def run_script(name, *arguments):
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, PLUGINS_VARIABLE: tiny_network.__file__},
    )


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """(folder with `run` and `model`, what make_saved_model.py printed)."""
    folder = tmp_path_factory.mktemp("release")
    config = ExperimentConfig(
        clip=ClipConfig(8, 64, 64, frame_stride=2),
        model=TINY,
        distill=DistillConfig("separate"),
    )
    tf_keras.utils.set_random_seed(0)
    model = build_from_config(config.model, len(CLASSES))
    dataset = {"name": "toy", "num_clips": 40, "fps": 12.5, "short_side": 72}
    save_run(folder / "run", config, CLASSES, model, dataset=dataset)
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    done = run_script(
        "make_saved_model.py",
        f"--model={folder / 'run'}",
        f"--output={folder / 'model'}",
        f"--metrics={folder / 'metrics.json'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_export_is_verified_in_a_process_without_the_package(release):
    _, printed = release
    lines = [line for line in printed.splitlines() if line.startswith(("ok", "FAIL"))]
    assert len(lines) >= 12
    assert all(line.startswith("ok") for line in lines)


def test_verification_notices_other_weights(release, tmp_path):
    with tarfile.open(tmp_path / "copy.tar", "w") as archive:
        archive.add(release[0] / "model", "model")
    with tarfile.open(tmp_path / "copy.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    golden = tmp_path / "model" / "assets.extra" / "golden.npz"
    with np.load(golden) as arrays:
        values = dict(arrays)
    values["logits"] = values["logits"] * np.float32(1.001)
    np.savez(golden, **values)
    done = run_script("verify_saved_model.py", f"--model={tmp_path / 'model'}")
    assert done.returncode == 1
    assert "FAIL  logits of uint8 frames" in done.stdout
    assert "ok    features" in done.stdout


def test_package_holds_what_kaggle_wants_and_only_measured_numbers(
    release, package_for_hub, tmp_path
):
    output = tmp_path / "package"
    package_for_hub.package(
        release[0] / "model",
        output,
        owner="me",
        slug="perf-net",
        variation=None,
        title="PERF-Net on toys",
    )
    model = json.loads((output / "model-metadata.json").read_text())
    assert (model["ownerSlug"], model["slug"]) == ("me", "perf-net")
    assert model["isPrivate"] is True
    variation = json.loads((output / "variation" / "model-instance-metadata.json").read_text())
    assert variation["instanceSlug"] == "tiny-rgb-toy"
    assert variation["framework"] == "tensorFlow2"
    assert variation["licenseName"] == "Apache 2.0"
    assert variation["fineTunable"] is True
    assert variation["trainingData"] == ["toy"]
    assert "hub.load" in variation["usage"]
    card = (output / "model_card.md").read_text()
    assert card == model["description"]
    assert "| top-1 | 75.00% |" in card
    assert "8 clips of toy test, one central crop of 8x64x64." in card
    assert "8 frames (every second frame) of 64x64, at 12.5 frames per second" in card
    assert "toy, training split: 40 clips" in card
    assert "separate distillation" in card
    assert "me/perf-net/tensorFlow2/tiny-rgb-toy" in card
    assert "$" not in card
    assert "RecognizerLayer" in (output / "variation" / "keras3_layer.py").read_text()
    assert "keras3_layer" in card and "## Intended use" in card
    assert hub.load(str(output / "variation"))(tf.zeros([1, 8, 64, 64, 3])).shape == (1, 3)


PUBLISHED = {
    "name": "toys_i3d",
    "summary": "I3D on RGB, 3 classes of Toys",
    "publisher": "A lab, its repository",
    "license": "CC-BY-4.0",
    "citation": "Doe: Toys (2017)",
    "training_data": "Toys",
}


@pytest.mark.parametrize("trained_further", [False, True])
def test_published_weights_are_named_with_their_licence(
    release, package_for_hub, tmp_path, trained_further
):
    published = {**PUBLISHED, "trained_further": True} if trained_further else PUBLISHED
    saved = load_run(release[0] / "run")
    record = {**saved.record, "pretrained": published}
    run = dataclasses.replace(saved, record=record)
    export_saved_model(run, tmp_path / "model")
    assert load(str(tmp_path / "model"), trainable=True).run().record["pretrained"] == published
    package_for_hub.package(tmp_path / "model", tmp_path / "package", owner="me", slug="p")
    model = json.loads((tmp_path / "package" / "model-metadata.json").read_text())
    folder = tmp_path / "package" / "variation"
    variation = json.loads((folder / "model-instance-metadata.json").read_text())
    card = model["description"]
    assert variation["licenseName"] == package_for_hub.LICENSES["CC-BY-4.0"] and "CC-BY-4.0" in card
    for fact in (PUBLISHED["summary"], PUBLISHED["publisher"], PUBLISHED["citation"]):
        assert fact in card
    assert "A lab, its repository; Doe: Toys (2017)" in model["provenanceSources"]
    assert ("Converted, not trained further" in card) != trained_further
    if trained_further:
        assert (variation["instanceSlug"], model["title"]) == ("tiny-rgb-toy", "PERF-Net")
        assert "toy, training split: 40 clips.\n- First weights: I3D on RGB" in card
    else:
        assert (variation["instanceSlug"], model["title"]) == ("toys-i3d", PUBLISHED["summary"])
        assert variation["trainingData"] == ["Toys"] and "Data: Toys, by its authors." in card
        assert "PERF-Net" not in card.split("## Intended use")[0]


def test_tarball_loads_from_a_web_server(release, package_for_hub, tmp_path, monkeypatch):
    output = tmp_path / "package"
    package_for_hub.package(
        release[0] / "model", output, owner="me", slug="p", variation="v", title="PERF-Net"
    )
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(output))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "cache"))
    try:
        model = hub.load(f"http://127.0.0.1:{server.server_port}/model.tar.gz")
    finally:
        server.shutdown()
        server.server_close()
    with np.load(release[0] / "model" / "assets.extra" / "golden.npz") as golden:
        np.testing.assert_allclose(model(golden["frames"]), golden["logits"], atol=1e-6)


def test_names_of_classes_are_shown_as_they_are(release, package_for_hub):
    info = ModelInfo.from_json((release[0] / "model" / "assets" / INFO_FILE).read_text())
    labels = ["<img src=x onerror=y>", "brush_hair", "[a](b)"]
    card = package_for_hub.write_card(info, labels, handle="me/p/tensorFlow2/v", title="T")
    assert r"\<img src=x onerror=y\>, brush\_hair, \[a\](b)" in card


def test_a_model_without_metrics_says_so(release, package_for_hub):
    info = package_for_hub.ModelInfo(ExperimentConfig())
    card = package_for_hub.write_card(info, CLASSES, handle="a/b/c/d", title="T")
    assert "was not evaluated" in card
    assert "%" not in card.split("## Accuracy")[1].split("## Training")[0]


def test_a_card_names_the_other_files_and_how_a_pose_model_is_fed(package_for_hub):
    parity = {"saved_model": 1e-7, "model_int8.tflite": 0.0312, "model.onnx": 2.5e-6}
    info = package_for_hub.ModelInfo(ExperimentConfig(stream="pose"), parity=parity)
    card = package_for_hub.write_card(info, CLASSES, handle="a/b/c/d", title="T")
    table = card.split("## Accuracy")[0].split("|---|---|")[1].split()
    assert table == "| `model_int8.tflite` | 3.1e-02 | | `model.onnx` | 2.5e-06 |".split()
    assert "from_keypoints" in card
    plain = package_for_hub.write_card(
        package_for_hub.ModelInfo(ExperimentConfig()), CLASSES, handle="a/b/c/d", title="T"
    )
    assert "from_keypoints" not in plain and "tflite" not in plain
    assert "$" not in card + plain


def test_a_card_says_on_what_files_were_quantised_and_what_it_cost(package_for_hub):
    quantization = {
        "calibration": {"kind": "records", "name": "ucf", "split": "train", "num_clips": 58},
        "split": "test",
        "num_clips": 86,
        "logits_differ": {"model_full_int8.tflite": 0.03},
        "same_answers": {"model_full_int8.tflite": 85},
        "accuracy": {"float32": {"top1": 0.5}, "model_full_int8.tflite": {"top1": 0.48}},
    }
    info = package_for_hub.ModelInfo(
        ExperimentConfig(), parity={"model_full_int8.tflite": 0.03}, quantization=quantization
    )
    card = package_for_hub.write_card(info, CLASSES, handle="a/b/c/d", title="T")
    plain = card.replace("\\", "")
    assert "Quantised on 58 clips of ucf (records, split train)." in plain
    assert "85 of 86 clips of split test have the float network's answer" in plain
    assert "top-1 48.0%, in float32 50.0%" in plain


def test_a_frozen_model_is_verified_as_such_and_not_offered_for_fine_tuning(
    release, package_for_hub, tmp_path
):
    done = run_script(
        "make_saved_model.py",
        f"--model={release[0] / 'run'}",
        f"--output={tmp_path / 'frozen'}",
        "--inference_only",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    frozen in float32: no variables" in done.stdout
    assert "FAIL" not in done.stdout
    output = tmp_path / "package"
    arguments = {"owner": "me", "slug": "p", "variation": "v", "title": "T"}
    package_for_hub.package(tmp_path / "frozen", output, **arguments)
    variation = json.loads((output / "variation" / "model-instance-metadata.json").read_text())
    assert variation["fineTunable"] is False
    assert "cannot be fine-tuned" in variation["usage"]
    assert "KerasLayer" not in variation["usage"]
    assert not (output / "variation" / "keras3_layer.py").exists()


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("make_saved_model.py", "--inference_only"),
        ("verify_saved_model.py", "--tolerance"),
        ("package_for_hub.py", "--variation"),
    ],
)
def test_scripts_tell_their_flags(name, flag):
    assert flag in run_script(name, "--help").stdout


def test_a_run_that_is_none_prints_one_error_line(tmp_path):
    done = run_script("make_saved_model.py", "--model=nowhere", f"--output={tmp_path / 'm'}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "No run and no SavedModel" in done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slug": "Perf Net"}, "Kaggle slug"),
        ({"owner": "-me"}, "Kaggle owner"),
        ({"model": pathlib.Path("nowhere")}, "SavedModel of perfnet export"),
    ],
)
def test_bad_input_is_refused(release, package_for_hub, tmp_path, changes, message):
    arguments = {"model": release[0] / "model", "owner": "me", "slug": "p", "variation": "v"}
    arguments |= changes
    with pytest.raises(InputError, match=message):
        package_for_hub.package(arguments.pop("model"), tmp_path / "new", title="T", **arguments)
    assert not (tmp_path / "new").exists()
