import os
import subprocess
import sys

import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.training.strategy import make_strategy

#: Two replicas need two devices, which a process must ask for before TensorFlow starts.
SCRIPT = """
import pathlib, sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from prepared_clips import write_tiny_dataset
from tiny_network import build_tiny
from perfnet_tf.config import *
from perfnet_tf.training import run_directory, trainer
from perfnet_tf.training.fitting import RunKeeper
trainer.build_from_config = run_directory.build_from_config = build_tiny
data = write_tiny_dataset(folder / "data")
config = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig(dropout_rate=0.0, weight_decay=0.01, options={"batch_norm": False}),
    train=TrainConfig(epochs=2, batch_size=4, learning_rate=0.2, checkpoint_every_steps=3))

def train(name, replicas):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]) if replicas == 2 else None
    teachers = {"flow": folder / "teacher"} if (folder / "teacher/weights.index").exists() else {}
    run = trainer.train(config.replace(stream="rgb" if teachers else "flow"), data, folder / name,
                        teachers=teachers, strategy=strategy, progress=False)
    history = (folder / name / "history.csv").read_text().splitlines()
    values = np.array([[float(x) for x in row.split(",")[:-1]] for row in history[1:]])
    return [v.numpy() for v in run.model.variables], values

train("teacher", 1)
one, one_history = train("one", 1)
def kill(self, batch, logs=None):
    if self.model.optimizer.iterations.numpy() >= 7:
        raise KeyError("killed")
RunKeeper.on_train_batch_begin = kill
try:
    train("two", 2)
    raise SystemExit("was not killed")
except KeyError:
    del RunKeeper.on_train_batch_begin
two, two_history = train("two", 2)
for a, b in zip(one, two, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-5)
np.testing.assert_allclose(one_history, two_history, rtol=1e-4)
print("equal after", int(two_history[-1, 1]), "steps")
"""


@pytest.mark.slow
def test_two_replicas_killed_and_resumed_arrive_where_one_device_arrives(tmp_path):
    reference = os.path.join(os.path.dirname(__file__), os.pardir, "reference")
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), reference],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "equal after 8 steps" in result.stdout


def test_an_unknown_strategy_or_devices_that_are_not_there_are_refused(monkeypatch):
    with pytest.raises(InputError, match="Did you mean 'mirrored'"):
        make_strategy("mirored")
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind: [])
    with pytest.raises(InputError, match="needs GPUs"):
        make_strategy("mirrored")
    assert make_strategy("auto").num_replicas_in_sync == 1
