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
EPOCHS, PAUSE = 50, 0.1
#: A life ends within as many steps: some before the first is done, some while saving.
LONGEST_LIFE = 8


def start(folder, name):
    options = [f"--epochs={EPOCHS}", f"--pause={PAUSE}"]
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), name, "1", *options],
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def live(folder, name, steps=None, seconds=0.0):
    """Trains, and kills it `seconds` after it has begun its step number `steps`; None lets it end.

    Returns:
        The steps that were done when it began and when it began its last, and its output.
    """
    process = start(folder, name)
    lines, begun = [], []
    for line in process.stdout:
        lines.append(line)
        if found := re.fullmatch(r"step (\d+)\n", line):  # the script's own, not of progress
            begun.append(int(found[1]))
            if len(begun) == steps:
                threading.Timer(seconds, process.kill).start()
    process.wait()
    assert process.returncode == (-9 if steps else 0), "".join(lines[-30:])
    return begun[0], begun[-1], "".join(lines)


def weights(run):
    reader = tf.train.load_checkpoint(str(run / "weights"))
    values = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    return {key: value for key, value in values.items() if isinstance(value, np.ndarray)}


@pytest.mark.slow
def test_ten_kills_at_random_moments_change_nothing(tmp_path):
    from prepared_clips import write_tiny_dataset

    write_tiny_dataset(tmp_path / "data")
    live(tmp_path, "unstopped")
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    lost, died = [], 0
    for _ in range(KILLS):
        steps, seconds = moments.randint(1, LONGEST_LIFE), moments.uniform(0, 2 * PAUSE)
        began, last, output = live(tmp_path, "killed", steps, seconds)
        lost.append(died - began)
        if began:
            assert re.search(rf"resuming after step {began} of {2 * EPOCHS}", output)
        died = last
    began, last, _ = live(tmp_path, "killed")
    lost.append(died - began)
    assert last == 2 * EPOCHS - 1
    print(f"seed {seed}: killed {KILLS} times, steps done again each time: {lost[1:]}")
    assert max(lost) < SAVED_EVERY
    assert sum(lost) > 0, "every kill came when nothing was at stake"

    expected, arrived = weights(tmp_path / "unstopped"), weights(tmp_path / "killed")
    assert expected.keys() == arrived.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(arrived[key], value, atol=1e-6, err_msg=f"seed {seed}: {key}")
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("unstopped", "killed")]
    assert len(histories[0].splitlines()) == len(histories[1].splitlines()) == EPOCHS + 1
