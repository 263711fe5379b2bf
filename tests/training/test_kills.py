"""SIGKILL at random moments, over and over: nothing but the steps since a checkpoint is lost."""

import os
import pathlib
import random
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

SCRIPT = pathlib.Path(__file__).parent.parent / "reference" / "distributed_training.py"
KILLS = 10
#: Of `distributed_training`: saves at multiples of this.
SAVED_EVERY = 3
EPOCHS, PAUSE = 40, 0.1


def start(folder, name):
    options = [f"--epochs={EPOCHS}", f"--pause={PAUSE}"]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), name, "1", *options],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def live_for(folder, name, seconds):
    """Trains, and kills it `seconds` after its first step; None lets it end.

    Returns:
        The steps it had done when it began and when it died, and its output.
    """
    process = start(folder, name)
    timer = threading.Timer(seconds, process.kill) if seconds else None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("step ") and timer and not timer.ident:
            timer.start()
    process.wait()
    steps = [int(line.split()[1]) for line in lines if line.startswith("step ")]
    assert process.returncode == (-9 if seconds else 0), "".join(lines[-30:])
    return steps[0], steps[-1], "".join(lines)


def weights(run):
    reader = tf.train.load_checkpoint(str(run / "weights"))
    values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    from prepared_clips import write_tiny_dataset

    write_tiny_dataset(tmp_path / "data")
    live_for(tmp_path, "unstopped", None)
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    lost, died = [], 0
    for _ in range(KILLS):
        began, step, output = live_for(tmp_path, "killed", moments.uniform(0.01, 8 * PAUSE))
        lost.append(died - began)
        if began:
            assert re.search(rf"going on after step {began} of {2 * EPOCHS}", output)
        died = step
    began, last, _ = live_for(tmp_path, "killed", None)
    lost.append(died - began)
    assert last == 2 * EPOCHS - 1
    print(f"seed {seed}: killed {KILLS} times, steps done again each time: {lost[1:]}")
    assert max(lost) <= SAVED_EVERY

    expected, arrived = weights(tmp_path / "unstopped"), weights(tmp_path / "killed")
    assert expected.keys() == arrived.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(arrived[key], value, atol=1e-6, err_msg=f"seed {seed}: {key}")
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("unstopped", "killed")]
    assert len(histories[0].splitlines()) == len(histories[1].splitlines()) == EPOCHS + 1
