"""What a training says and leaves when it cannot go on."""

import json
import pathlib
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import FailureError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.training.checkpoints import Checkpoints
from perfnet_tf.training.failure import clips_of_step
from perfnet_tf.training.trainer import train

CLIP = ClipConfig(6, 24, 32, short_side=28)
REFERENCE = pathlib.Path(__file__).parent.parent / "reference"


def config(**options):
    """15 clips in batches of 4: epochs end after 4, 8 and 12 steps."""
    values = {"epochs": 3, "batch_size": 4, "learning_rate": 0.1, "seed": 3}
    return ExperimentConfig(
        clip=CLIP,
        model=ModelConfig("tiny", dropout_rate=0.0),
        train=TrainConfig(**{**values, **options}),
    )


def teacher_that_breaks_at(step):
    """Logits that are NaN in its `step`-th batch (1 is the first), for one clip."""
    calls = tf.Variable(0)

    def predict(frames):
        number = calls.assign_add(1)
        bad = tf.one_hot([2], 4, axis=0)[:, 0] * tf.cast(number == step, tf.float32)  # [4]
        return tf.where(bad[:, None] > 0, np.nan, tf.zeros([4, 3]))

    return Teacher(predict, "rgb")


@pytest.mark.parametrize("steps_per_execution", [1, 4])
def test_a_bad_step_is_named_with_its_clips_and_the_last_good_checkpoint(
    data, tmp_path, steps_per_execution
):
    settings = config(checkpoint_every_steps=1, steps_per_execution=steps_per_execution)
    with pytest.raises(FailureError) as error:
        train(
            settings,
            data,
            tmp_path / "run",
            teachers={"rgb": teacher_that_breaks_at(6)},
            progress=False,
        )
    message = str(error.value)
    assert "infinite or NaN at step 6 of 12" in message
    # Steps that run as one call are saved after the last of them only.
    good = 5 if steps_per_execution == 1 else 4
    assert f"The last good checkpoint is {tmp_path}/run/checkpoints/ckpt-{good}." in message

    batches = build_dataset(
        data, "train", clip=CLIP, streams=["rgb"], batch_size=4, training=True, seed=3,
        start_step=5, with_clip_ids=True,
    )  # fmt: skip
    expected = [clip.decode() for clip in next(iter(batches))["clip_id"].numpy()]
    record = json.loads((tmp_path / "run" / "bad_step.json").read_text())
    assert (record["step"], record["clip_ids"]) == (6, expected)
    assert all(clip in message for clip in expected)


def test_a_gradient_that_overflows_is_found_before_it_is_saved(data, tmp_path):
    """The loss is finite at the step whose update ruins the weights."""

    def far(frames):  # (2e19)^2 is below float32's largest number; its gradient is not wanted
        return tf.fill([4, 3], 1.5e19)

    settings = config(checkpoint_every_steps=1, learning_rate=1e25, warmup_epochs=0.0)
    with pytest.raises(FailureError, match=r"at step (\d+) of 12") as error:
        train(
            settings, data, tmp_path / "run", teachers={"rgb": Teacher(far, "rgb")}, progress=False
        )
    step = int(str(error.value).split("at step ")[1].split(" ")[0])
    latest = tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints"))
    saved = 0 if latest is None else int(latest.rpartition("-")[2])
    assert saved < step
    if latest:
        reader = tf.train.load_checkpoint(latest)
        for key, shape in reader.get_variable_to_shape_map().items():
            if "model/" in key and "OPTIMIZER" not in key and shape:
                assert np.isfinite(reader.get_tensor(key)).all(), key


def test_clips_of_a_step_run_across_the_end_of_a_pass(data):
    batches = build_dataset(
        data, "train", clip=CLIP, streams=["rgb"], batch_size=4, training=True, seed=7,
        with_clip_ids=True,
    )  # fmt: skip
    for step, batch in enumerate(batches.take(6)):
        expected = [clip.decode() for clip in batch["clip_id"].numpy()]
        assert clips_of_step(data, "train", step, 4, 7) == expected


DISK_SCRIPT = """
import pathlib, sys
sys.path.insert(0, {reference!r})
import tiny_network
from perfnet_tf.cli.main import main
from perfnet_tf.training.callbacks import KeepCheckpoints
full = pathlib.Path({disk!r}) / "filler"
filled = []
def fill(self, batch, logs=None):
    if self._step == 5 and not filled:
        filled.append(True)
        with open(full, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass
KeepCheckpoints.on_train_batch_begin = fill
train = ["train", "--data={data}", "--stream=rgb", "--output={disk}/run", "--backbone=tiny",
         "--clip=6x24x32", "--short_side=28", "--epochs=3", "--batch=4",
         "--checkpoint_every_steps=1"]
print("first", main(train))
run = pathlib.Path({disk!r}) / "run"
print("left", sorted(path.name for path in (run / "checkpoints").iterdir()))
full.unlink()
print("second", main(train))
"""


def test_a_full_disk_is_reported_and_the_last_checkpoint_is_whole(data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    alone = shutil.which("unshare") and ["unshare", "-rm", "sh", "-c"]
    if not alone or subprocess.run([*alone, f"mount -t tmpfs none {disk}"]).returncode:
        pytest.skip("this machine lets no one mount a small disk")
    script = tmp_path / "script.py"
    script.write_text(DISK_SCRIPT.format(reference=str(REFERENCE), disk=str(disk), data=data))
    command = f"mount -t tmpfs -o size=2m none {disk} && {sys.executable} {script}"
    result = subprocess.run([*alone, command], capture_output=True, text=True, timeout=600)
    assert "first 1" in result.stdout, textwrap.shorten(result.stderr[-3000:], 3000)
    assert f"The disk of {disk}/run is full (0 MiB free)" in result.stderr
    assert f"The checkpoint {disk}/run/checkpoints/ckpt-5 is whole" in result.stderr
    assert "_temp" not in result.stdout and "ckpt-6" not in result.stdout
    assert "resuming after step 5 of 12" in result.stderr
    assert "second 0" in result.stdout


@pytest.fixture
def stopped(data, tmp_path, monkeypatch):
    """A run that was stopped after step 6, where it had saved."""

    def die(self, batch, logs=None):
        if self._step == 6:
            raise KeyError

    from perfnet_tf.training.callbacks import KeepCheckpoints

    with monkeypatch.context() as patch, pytest.raises(KeyError):
        patch.setattr(KeepCheckpoints, "on_train_batch_begin", die, raising=False)
        train(config(checkpoint_every_steps=3), data, tmp_path / "run", progress=False)
    return tmp_path / "run"


@pytest.mark.parametrize("content", [b"", b"\xff", b'all_model_checkpoint_paths: "ckpt-3"\n'])
def test_a_damaged_list_of_checkpoints_costs_none(stopped, data, monkeypatch, content):
    (stopped / "checkpoints" / "checkpoint").write_bytes(content)
    steps = []
    restore = Checkpoints.restore
    monkeypatch.setattr(
        Checkpoints, "restore", lambda self: (restore(self), steps.append(self.step))[0]
    )
    train(config(checkpoint_every_steps=3), data, stopped, progress=False)
    assert steps == [6]


def test_what_a_kill_left_half_written_is_removed(stopped, data, monkeypatch):
    folder = stopped / "checkpoints"
    (folder / "ckpt-6_temp").mkdir()
    (folder / "ckpt-6_temp" / "part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (folder / "ckpt-9.data-00000-of-00001").write_bytes(b"half")
    seen = []
    restore = Checkpoints.restore
    monkeypatch.setattr(
        Checkpoints,
        "restore",
        lambda self: (seen.append(sorted(p.name for p in folder.iterdir())), restore(self))[1],
    )
    train(config(checkpoint_every_steps=3), data, stopped, progress=False)
    assert not [name for name in seen[0] if "temp" in name or "ckpt-9" in name]
    assert "ckpt-6.index" in seen[0]
