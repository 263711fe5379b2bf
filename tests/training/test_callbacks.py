"""Custom callbacks and optimizers in `train`."""

import csv

import numpy as np
import pytest
import tf_keras

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.training.trainer import train

#: 15 clips in batches of 4: epochs end after 4, 8 and 12 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.5),
    train=TrainConfig(
        epochs=3, batch_size=4, learning_rate=0.2, checkpoint_every_steps=3, validate_every_epochs=1
    ),
)


def adam(config, total_steps):
    schedule = tf_keras.optimizers.schedules.PolynomialDecay(config.learning_rate, total_steps, 0.0)
    return tf_keras.optimizers.Adam(schedule)


class Recorder(tf_keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs, self.steps, self.students = [], 0, set()

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1
        self.students.add(type(self.model.student).__name__)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def test_custom_callbacks_receive_every_step_and_the_values_of_the_history(data, tmp_path):
    recorder = Recorder()
    run = train(CONFIG, data, tmp_path / "run", callbacks=[recorder], progress=False)
    assert (recorder.steps, recorder.students) == (12, {"TinyNetwork"})
    with open(run.path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, logs in zip(rows, recorder.epochs, strict=True):
        assert {"val_top1", "learning_rate", "loss"} <= logs.keys()
        assert {name: f"{value:.6g}" for name, value in logs.items()} == {
            name: row[name] for name in logs
        }


def test_a_callback_that_stops_the_training_finishes_the_run(data, tmp_path):
    class Stop(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    run = train(CONFIG, data, tmp_path / "run", callbacks=[Stop()], progress=False)
    assert (run.record["status"], run.record["steps"]) == ("finished", 8)


@pytest.mark.parametrize("step", [7, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_run_restores_the_state_of_a_custom_optimizer(
    data, tmp_path, killed_and_resumed, step
):
    expected = train(CONFIG, data, tmp_path / "unstopped", optimizer=adam, progress=False)
    output = tmp_path / "killed"
    resumed = killed_and_resumed(step, CONFIG, data, output, optimizer=adam)
    for one, other in zip(resumed.model.variables, expected.model.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert resumed.record["optimizer"] == "adam"
    with pytest.raises(InputError, match="optimizer was 'adam', is None"):
        train(CONFIG, data, output, progress=False)


def test_an_optimizer_object_trains_at_its_own_rate(data, tmp_path):
    optimizer = tf_keras.optimizers.SGD(0.125)
    run = train(CONFIG, data, tmp_path / "run", optimizer=optimizer, progress=False)
    assert run.record["optimizer"] == "SGD"
    with open(run.path / "history.csv", newline="") as file:
        assert {row["learning_rate"] for row in csv.DictReader(file)} == {"0.125"}
    with pytest.raises(InputError, match="one with 12 steps"):
        train(CONFIG, data, tmp_path / "other", optimizer=optimizer, progress=False)


def test_refuses_what_is_no_optimizer(data, tmp_path):
    with pytest.raises(InputError, match=r"Received: 'adam'"):
        train(CONFIG, data, tmp_path / "run", optimizer="adam", progress=False)
