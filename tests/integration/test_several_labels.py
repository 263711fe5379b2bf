"""Clips with several labels all the way: lists, records, distillation, evaluation, export."""

import csv
import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tiny_network

import perfnet_tf
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, DistillConfig, ExperimentConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.prediction import predict_videos
from perfnet_tf.recognizers.run_directory import read_run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.verification import verify_dataset
from perfnet_tf.saved_model.export import export_saved_model
from perfnet_tf.training.classifier_fitting import fit_classifier
from perfnet_tf.training.trainer import train

CLASSES = ("blue", "green", "red")
CONFIG = ExperimentConfig(
    clip=ClipConfig(4, 24, 24, short_side=28),
    model=tiny_network.TINY,
    train=TrainConfig(
        epochs=16, batch_size=8, learning_rate=0.3, warmup_epochs=0.0, validate_every_epochs=8
    ),
)


def paint(folder, shown, random):
    """Eight frames in which blocks of the shown colours move over a noisy background."""
    folder.mkdir(parents=True)
    places = random.integers(0, 20, (3, 2))
    for number in range(1, 9):
        frame = random.integers(0, 90, (32, 40, 3)).astype(np.uint8)
        for channel in shown:  # OpenCV's order is that of CLASSES
            top, left = (places[channel] + number) % 20
            frame[top : top + 10, left : left + 10, channel] = 230
        cv2.imwrite(str(folder / f"img_{number:05d}.png"), frame)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    random = np.random.default_rng(11)
    lines = ["path,label,split"]
    for number in range(60):
        shown = np.flatnonzero(random.random(3) < 0.5)
        shown = shown if shown.size else [number % 3]
        paint(folder / f"frames/clip{number:02d}", shown, random)
        names = ";".join(CLASSES[channel] for channel in shown)
        lines.append(f"clip{number:02d},{names},{'train' if number < 36 else 'test'}")
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    perfnet_tf.prepare(
        folder / "frames",
        folder / "data",
        dataset="list",
        lists=folder / "list.csv",
        label_separator=";",
        fps_of_frames=25,
        short_side=32,
        pose="none",
        flow="none",
        workers=0,
    )
    return folder / "data"


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    return train(CONFIG, data, tmp_path_factory.mktemp("teacher") / "run", progress=False)


@pytest.fixture(scope="module")
def student(data, teacher, tmp_path_factory):
    """Learns from the labels and, for the most part, from the teacher."""
    config = CONFIG.replace(distill=DistillConfig(teacher_weights={"rgb": 1.0}))
    output = tmp_path_factory.mktemp("student") / "run"
    return train(config, data, output, teachers={"rgb": teacher}, progress=False)


def test_the_dataset_states_it_and_is_whole(data):
    info = read_dataset_info(data)
    assert info.label_kind == "multi" and info.classes == CLASSES
    assert sum(info.splits["train"]["clips_per_class"].values()) > info.splits["train"]["num_clips"]
    assert verify_dataset(data).damages == ()
    lines = (data / "train.index.jsonl").read_text().splitlines()
    entry = next(e for e in map(json.loads, lines) if e.get("other_labels"))
    names = [CLASSES[label] for label in (entry["label"], *entry["other_labels"])]
    assert open_clip(data, entry["clip_id"]).label_name == "; ".join(names)


def test_a_distilled_student_beats_chance(data, student, tmp_path):
    result = evaluate_runs([student], data, tmp_path / "results", progress=False)
    info = read_dataset_info(data).splits["test"]
    # Equal scores for all clips give each class the share of its clips.
    chance = np.mean([n / info["num_clips"] for n in info["clips_per_class"].values()])
    assert result["mAP"] > chance + 0.25
    assert read_run(student.path)[2]["dataset"]["label_kind"] == "multi"
    history = list(csv.DictReader(open(student.path / "history.csv")))
    assert float(history[-1]["mse_rgb"]) < float(history[0]["mse_rgb"])
    assert float(history[-1]["val_cross_entropy"]) < np.log(2)

    assert json.loads((tmp_path / "results" / "metrics.json").read_text())["mAP"] == result["mAP"]
    per_class = list(csv.DictReader(open(tmp_path / "results" / "per_class.csv")))
    assert [row["class"] for row in per_class] == list(CLASSES)
    values = [float(row["average_precision"]) for row in per_class]
    assert np.mean(values) == pytest.approx(result["mAP"], abs=1e-4)
    assert not (tmp_path / "results" / "confusion.png").exists()
    rows = list(csv.DictReader(open(tmp_path / "results" / "predictions.csv")))
    assert len(rows) == 24 and any("; " in row["label"] for row in rows)


def test_the_summary_of_evaluate_says_map(data, student, tmp_path, capsys):
    argv = ["evaluate", f"--models={student.path}", f"--data={data}", f"--output={tmp_path}/out"]
    assert main(argv) == 0
    assert "mAP" in capsys.readouterr().out


def test_predictions_are_sigmoids(data, student, tmp_path):
    frames = data.parent / "frames" / "clip00"
    (prediction,) = predict_videos([_film(frames, tmp_path)], student)
    logits = dict(zip(CLASSES, prediction.logits, strict=True))
    for name, share in prediction.top(3):
        assert share == pytest.approx(1 / (1 + np.exp(-logits[name])), rel=1e-5)


@pytest.mark.parametrize("inference_only", [False, True])
def test_exports_serve_sigmoids_and_say_so(student, tmp_path, inference_only):
    path = export_saved_model(student, tmp_path / "export", inference_only=inference_only)
    assert (
        json.loads((path / "assets" / "model.json").read_text())["dataset"]["label_kind"] == "multi"
    )
    loaded = tf.saved_model.load(str(path))  # held: a signature alone loses its variables
    clip = tf.random.stateless_uniform([2, 4, 24, 24, 3], [1, 2])
    served = loaded.signatures["serving_default"](frames=clip)
    np.testing.assert_allclose(served["probabilities"], tf.sigmoid(served["logits"]), rtol=1e-6)
    assert perfnet_tf.load(path).label_kind == "multi"
    assert perfnet_tf.load(path, folded=True).label_kind == "multi"


def test_what_counts_on_one_label_is_refused(data, student, tmp_path):
    for option in ({"class_weights": "balanced"}, {"sampling": "balanced"}):
        config = CONFIG.replace(train=TrainConfig(epochs=1, **option))
        with pytest.raises(InputError, match="Classes are balanced where a clip has one label"):
            train(config, data, tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="fitted to clips with one label"):
        fit_classifier(student, data, tmp_path / "fitted", progress=False)


def _film(frames, folder):
    path = folder / "clip.avi"
    pictures = [cv2.imread(str(file)) for file in sorted(frames.iterdir())]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (40, 32))
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path
