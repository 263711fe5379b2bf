"""Early stopping, the best weights, and more epochs for a finished run."""

import json
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from prepared_clips import make_clip, write_dataset

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers.run_directory import load_run
from perfnet_tf.training.history import read_history
from perfnet_tf.training.selection import Selection
from perfnet_tf.training.trainer import train
from perfnet_tf.training.workers import Workers

#: 12 uneven clips in batches of 4: an epoch is 3 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.5, weight_decay=0.001),
    train=TrainConfig(
        epochs=4,
        batch_size=4,
        learning_rate=0.3,
        checkpoint_every_steps=2,
        validate_every_epochs=1,
        keep="best",
    ),
)


def changed(**train_options):
    return CONFIG.replace(train=TrainConfig(**{**vars(CONFIG.train), **train_options}))


@pytest.fixture(scope="module")
def with_val(tmp_path_factory):
    labels = [0] * 7 + [1] * 4 + [2]
    train_clips = [make_clip(i, c, frames=9, height=48, width=64) for i, c in enumerate(labels)]
    val = [make_clip(20 + i, i % 3, frames=9, height=48, width=64) for i in range(7)]
    folder = tmp_path_factory.mktemp("data") / "uneven"
    return write_dataset(folder, {"train": train_clips, "val": val, "test": val}, num_classes=3)


class Snapshots(tf_keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.student.get_weights())


def assert_weights(run, expected, tolerance=1e-6):
    for one, other in zip(run.model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=tolerance)


class Rows:
    def __init__(self, *values):
        self.rows = [
            {"epoch": str(1 + i), "val_top1": top1, "val_cross_entropy": entropy}
            for i, (top1, entropy) in enumerate(values)
        ]


def selection(rows, first_epoch=0, **options):
    workers = Workers(tf.distribute.get_strategy())
    folder = pathlib.Path("not_written")
    return Selection(changed(**options).train, folder, None, rows, workers, first_epoch)


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([("0.5", "1.0"), ("0.6", "1.2"), ("0.6", "1.1"), ("0.6", "1.1")], 3),
        ([("0.5", "1.0"), ("", ""), ("0.4", "0.1")], 1),
        ([("", "")], 0),
    ],
)
def test_the_best_epoch_has_the_highest_top1_then_the_lowest_loss_and_is_the_first(values, best):
    assert selection(Rows(*values))._best() == best


@pytest.mark.parametrize(
    ("epochs", "first_epoch", "exhausted"), [(2, 0, False), (3, 0, True), (3, 2, False)]
)
def test_patience_counts_epochs_since_the_best(epochs, first_epoch, exhausted):
    rows = Rows(*[("0.5", "1.0")] * epochs)
    assert selection(rows, first_epoch, early_stopping_epochs=2).is_exhausted() is exhausted


@pytest.mark.parametrize("step", [10, pytest.param(4, marks=pytest.mark.slow)])
def test_the_best_weights_are_kept_also_over_an_interruption(
    with_val, tmp_path, killed_and_resumed, step
):
    seen = Snapshots()
    run = train(CONFIG, with_val, tmp_path / "run", callbacks=[seen], progress=False)
    rows = read_history(run.path)
    order = [(float(row["val_top1"]), -float(row["val_cross_entropy"])) for row in rows]
    best = order.index(max(order))
    assert run.record["kept_epoch"] == best + 1
    assert_weights(run, seen.weights[best], 0)
    assert_weights(load_run(run.path), seen.weights[best], 0)
    assert not (run.path / "best").exists() and not (run.path / "checkpoints").exists()
    resumed = killed_and_resumed(step, CONFIG, with_val, tmp_path / "killed")
    assert resumed.record["kept_epoch"] == best + 1
    assert_weights(resumed, seen.weights[best])


def test_a_run_stops_when_validation_gets_no_better(with_val, tmp_path, capsys):
    still = changed(
        epochs=9,
        learning_rate=1e-30,
        freeze=("all_but_head",),
        early_stopping_epochs=2,
        keep="last",
        sampling="balanced",
        class_weights="balanced",
    )
    run = train(still, with_val, tmp_path / "run")
    assert (run.record["status"], run.record["steps"]) == ("finished", 9)
    assert "stopped early, at epoch 3" in capsys.readouterr().err
    assert "kept_epoch" not in run.record
    # More epochs: patience begins again.
    more = still.replace(train=TrainConfig(**{**vars(still.train), "epochs": 12}))
    run = train(more, with_val, tmp_path / "run", progress=False)
    assert (run.record["steps"], len(read_history(run.path))) == (15, 5)


def test_choosing_needs_validation_and_clips_for_it(data, tmp_path):
    with pytest.raises(InputError, match="Give `validate_every_epochs`"):
        TrainConfig(keep="best")
    with pytest.raises(InputError, match="Give `validate_every_epochs`"):
        TrainConfig(early_stopping_epochs=3)
    with pytest.raises(InputError, match="the split 'val'. Received: train, test"):
        train(CONFIG, data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_how_often_validation_chooses_is_part_of_the_run(with_val, tmp_path):
    run = train(changed(epochs=1), with_val, tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="train.validate_every_epochs was 1, is 2"):
        train(changed(epochs=1, validate_every_epochs=2), with_val, run.path, progress=False)


@pytest.mark.parametrize(
    ("keep", "step"), [("last", 7), ("best", 10), pytest.param("best", 6, marks=pytest.mark.slow)]
)
def test_a_finished_run_is_trained_further(
    with_val, tmp_path, killed_and_resumed, capsys, keep, step
):
    short, long = changed(epochs=2, keep=keep), changed(epochs=4, keep=keep)
    first = train(short, with_val, tmp_path / "run", progress=False)
    copy = shutil.copytree(first.path, tmp_path / "killed")
    run = train(long, with_val, first.path)
    assert "2 epochs are done, 4 wanted" in capsys.readouterr().err
    assert run.record["continued"] == [{"epochs": 2, "steps": 6}]
    assert (run.record["status"], run.record["steps"], run.config) == ("finished", 12, long)
    rows = read_history(run.path)
    assert [row["step"] for row in rows] == ["3", "6", "9", "12"]
    # The added epochs have the rates of a run of two epochs.
    assert rows[2]["learning_rate"] == rows[0]["learning_rate"]
    assert rows[3]["learning_rate"] == rows[1]["learning_rate"]
    moved = [
        not np.array_equal(one, other)
        for one, other in zip(run.model.get_weights(), first.model.get_weights(), strict=True)
    ]
    assert any(moved) or run.record.get("kept_epoch", 4) <= 2
    resumed = killed_and_resumed(step, long, with_val, copy)
    assert_weights(resumed, run.model.get_weights())
    assert resumed.record["continued"] == run.record["continued"]
    assert train(long, with_val, first.path, progress=False).record == run.record
    with pytest.raises(InputError, match="train.epochs was 4, is 2"):
        train(short, with_val, first.path, progress=False)


def test_an_unfinished_run_or_another_difference_is_not_trained_further(
    with_val, tmp_path, before_step
):
    with before_step(2):
        train(changed(epochs=1), with_val, tmp_path / "a", progress=False)
    with pytest.raises(InputError, match="train.epochs was 1, is 2"):
        train(changed(epochs=2), with_val, tmp_path / "a", progress=False)
    run = train(changed(epochs=1), with_val, tmp_path / "b", progress=False)
    with pytest.raises(InputError, match="2 differences"):
        train(changed(epochs=2, mirror=False), with_val, run.path, progress=False)
    assert json.loads((run.path / "run.json").read_text())["status"] == "finished"
