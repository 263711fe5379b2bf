"""The order of the labels goes with every dataset, run and model, and counts wherever two meet."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from prepared_clips import make_clip, write_dataset
from tiny_network import build_tiny, fixed_weights

from perfnet_tf.config import ClipConfig, ExperimentConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, write_dataset_info
from perfnet_tf.saved_model import export_saved_model, load_saved_model
from perfnet_tf.training import start, trainer

CLASSES = ("class0", "class1", "class2")
OTHER_ORDER = ("class2", "class0", "class1")
CONFIG = ExperimentConfig(
    clip=ClipConfig(4, 24, 32, short_side=28),
    train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.05),
)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    monkeypatch.setattr(start, "build_from_config", build_tiny)
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)


def write(folder, order):
    """The same clips with their labels numbered in `order`."""
    clips = []
    for number in range(6):
        clip = make_clip(number, number % 3, frames=6, height=28, width=36)
        clips.append(dataclasses.replace(clip, label=order.index(clip.label_name)))
    write_dataset(folder, {"train": clips, "test": clips}, num_classes=3)
    info = dataclasses.replace(read_dataset_info(folder), classes=order)
    write_dataset_info(folder, info)
    return folder


@pytest.fixture
def data(tmp_path):
    return write(tmp_path / "data", CLASSES)


@pytest.fixture
def permuted(tmp_path):
    return write(tmp_path / "permuted", OTHER_ORDER)


@pytest.fixture
def run(tmp_path):
    model = build_tiny(CONFIG.model, 3)
    fixed_weights(model, seed=3)
    return run_directory.save_run(tmp_path / "run", CONFIG, CLASSES, model)


def test_evaluation_matches_classes_by_name(run, data, permuted, tmp_path):
    first = evaluate_runs([run.path], data, tmp_path / "a", progress=False)
    second = evaluate_runs([run.path], permuted, tmp_path / "b", progress=False)
    assert first["top1"] == second["top1"]
    lines = [(tmp_path / name / "predictions.csv").read_text() for name in "ab"]
    assert lines[0] == lines[1]  # clip, label and answer are names


def test_a_run_whose_list_of_classes_was_sorted_is_refused(run):
    path = run.path / "classes.txt"
    path.write_text("".join(f"{name}\n" for name in OTHER_ORDER))
    with pytest.raises(InputError, match="classes.txt, or their order, are not those of the run"):
        run_directory.load_run(run.path)
    path.write_text("".join(f"{name}\n" for name in CLASSES))
    assert run_directory.load_run(run.path).classes == CLASSES


def test_a_student_gets_its_teachers_logits_in_its_own_order(run, permuted):
    clip = tf.random.stateless_uniform([2, 4, 24, 32, 3], [1, 2])
    teacher = Teacher(lambda inputs: run.model(inputs, training=False), "rgb", run.classes)
    logits = run.model(clip, training=False).numpy()
    permuted_logits = teacher.for_classes("t", OTHER_ORDER).predict(clip).numpy()
    np.testing.assert_array_equal(permuted_logits, logits[:, [2, 0, 1]])
    with pytest.raises(InputError, match="must predict the student's classes"):
        teacher.for_classes("t", ("class0", "class1", "class3"))


def test_a_run_does_not_go_on_with_labels_in_another_order(data, permuted, tmp_path):
    trainer.train(CONFIG, data, tmp_path / "trained", progress=False)
    assert (tmp_path / "trained" / "classes.txt").read_text().split() == list(CLASSES)
    with pytest.raises(InputError, match="classes was .*class0.*is .*class2"):
        trainer.train(CONFIG, permuted, tmp_path / "trained", progress=False)


def test_fine_tuning_carries_the_classifier_over_by_name(run, permuted, tmp_path):
    """The same names in another order would otherwise begin with exchanged answers."""
    frozen = CONFIG.replace(train=TrainConfig(epochs=1, batch_size=6, learning_rate=1e-9))
    tuned = trainer.train(frozen, permuted, tmp_path / "tuned", initial=run, progress=False)
    assert tuned.classes == OTHER_ORDER
    theirs, ours = run.model.classifier.kernel.numpy(), tuned.model.classifier.kernel.numpy()
    assert not np.allclose(theirs, ours, atol=1e-4)
    order = [CLASSES.index(name) for name in OTHER_ORDER]
    np.testing.assert_allclose(theirs[:, order], ours, atol=1e-5)
    np.testing.assert_allclose(
        run.model.unit.variables[0], tuned.model.unit.variables[0], atol=1e-5
    )


def test_an_exported_model_carries_the_labels_of_its_run(run, tmp_path):
    path = export_saved_model(run.model, tmp_path / "model", classes=run.classes, config=run.config)
    loaded = load_saved_model(path)
    assert loaded.classes == CLASSES
    with tf.io.gfile.GFile(loaded.module.labels_file.asset_path.numpy().decode()) as file:
        assert tuple(file.read().split()) == CLASSES


def test_records_whose_labels_are_not_those_of_the_dataset_are_found(data):
    from perfnet_tf.records.verification import find_damaged_record

    assert find_damaged_record(data, "train") is None
    path = data / schema.DATASET_FILE
    values = json.loads(path.read_text())
    values["classes"] = list(OTHER_ORDER)
    path.write_text(json.dumps(values))
    assert "which is not that class" in find_damaged_record(data, "train").problem
