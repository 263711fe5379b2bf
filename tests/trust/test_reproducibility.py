"""The same command, the same bits; and memory that does not grow over a long training."""

import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from mutations import resident
from prepared_clips import write_tiny_dataset

REFERENCE = pathlib.Path(__file__).parents[1] / "reference"


def train_in_another_process(data, output, *, deterministic, backbone, steps=8) -> str:
    """Trains with dropout, mirroring and colours, and returns what it printed."""
    network = "s3d_g" if backbone == "tiny" else backbone
    code = f"""
    import sys
    sys.path.insert(0, {str(REFERENCE)!r})
    from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import start, trainer
    if {backbone!r} == "tiny":
        from tiny_network import build_tiny
        start.build_from_config = run_directory.build_from_config = build_tiny
    config = ExperimentConfig(
        clip=ClipConfig(6, 32, 32),
        model=ModelConfig({network!r}, 0.125),
        train=TrainConfig(epochs={steps} * 4 // 16, batch_size=4, learning_rate=0.1, seed=5),
    )
    trainer.train(
        config, {str(data)!r}, {str(output)!r}, deterministic={deterministic}, progress=False
    )
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def weights(run):
    reader = tf.train.load_checkpoint(str(run / "weights"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["tiny", "r3d50_g", "s3d_g"])
def test_two_deterministic_trainings_end_with_the_same_bits(tmp_path, backbone):
    data = write_tiny_dataset(tmp_path / "data")
    for name in ("first", "second"):
        train_in_another_process(data, tmp_path / name, deterministic=True, backbone=backbone)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert first.keys() == second.keys() and len(first) > 5
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.slow
def test_memory_is_flat_over_two_thousand_steps(tmp_path, monkeypatch):
    """At the end within 10 % of that at a tenth of the way."""
    from tiny_network import build_tiny

    from perfnet_tf.config import ClipConfig, ExperimentConfig, TrainConfig
    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import callbacks, start, trainer

    monkeypatch.setattr(start, "build_from_config", build_tiny)
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
    memory = []
    advance = callbacks.KeepCheckpoints.on_train_batch_end

    def measured(self, batch, logs=None):
        advance(self, batch, logs)
        memory.append(resident(os.getpid()))

    monkeypatch.setattr(callbacks.KeepCheckpoints, "on_train_batch_end", measured)
    data = write_tiny_dataset(tmp_path / "data")
    config = ExperimentConfig(
        clip=ClipConfig(6, 24, 32, short_side=28),
        train=TrainConfig(
            epochs=500, batch_size=4, learning_rate=0.01, checkpoint_every_steps=100,
            validate_every_epochs=50,
        ),
    )  # fmt: skip
    trainer.train(config, data, tmp_path / "run", progress=False)
    assert len(memory) == 2000
    early, late = memory[200], memory[-1]
    print(f"\nresident at step 200 {early / 2**20:.1f} MiB, at step 2000 {late / 2**20:.1f} MiB")
    assert late < 1.1 * early
