"""`perfnet reproduce` as a user runs it: killed in the middle, given again, on generated videos."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from perfnet_tf.cli.main import main
from perfnet_tf.evaluation.fusion import ClipScores

pytestmark = pytest.mark.slow
FLAGS = (
    "--preset=mini",
    "--width_multiplier=0.0625",
    "--clip=8x32x32",
    "--frame_stride=1",
    "--batch=4",
    "--epochs=2",
    "--checkpoint_every_steps=2",
    "--student=--learning_rate=0.01",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from perfnet_tf.synthetic.dataset import SyntheticConfig, generate_synthetic_dataset

    folder = tmp_path_factory.mktemp("synthetic")
    generate_synthetic_dataset(folder / "videos", SyntheticConfig(clips_per_class=3))
    command = [
        "prepare",
        "--dataset=synthetic",
        f"--videos={folder / 'videos'}",
        "--pose=keypoints",
    ]
    command += [f"--output={folder / 'data'}", "--short_side=40", "--flow=dis", "--fps=12.5"]
    assert main(command) == 0
    return folder / "data"


def test_killed_and_given_again_a_table_is_finished(data, tmp_path):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "perfnet_tf", "reproduce", "table4", f"--data={data}"]
    command += [f"--output={output}", *FLAGS]
    rows = "--rows=rgb,student_flow,rgb+flow"
    process = subprocess.Popen([*command, rows], stderr=subprocess.DEVNULL)
    student = output / "runs/s3d_g-student_flow-seed0"
    while not (student / "checkpoints/checkpoint").exists():  # the last file of a checkpoint
        assert process.poll() is None, "ended before it was killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in output.glob("runs/*/weights.index")}
    assert {path.parent.name for path in before} == {"s3d_g-rgb-seed0", "s3d_g-flow-seed0"}
    again = subprocess.run([*command, rows], capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "resuming after step" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    results = json.loads((output / "table4/results.json").read_text())
    assert [row["row"] for row in results["rows"]] == rows.removeprefix("--rows=").split(",")
    assert all(row["seeds"] == [0] for row in results["rows"])
    config = json.loads((student / "config.json").read_text())
    assert config["distill"]["loss"] == "separate"
    assert config["train"]["learning_rate"] == 0.01
    page = (output / "table4/report.html").read_text()
    assert "80.6, 94.6" in page and "Squared error against the flow teacher" in page
    assert re.search(r"perfnet reproduce table4 .*--student=", page)

    # Table 3 uses them again.
    third = [*command[:4], "table3", *command[5:], "--rows=flow,rgb+flow"]
    again = subprocess.run(third, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "2 runs, 2 of them there already" in again.stderr
    assert (output / "table3/report.md").exists()
    scores = ClipScores.load(output / "evaluation/s3d_g-rgb-seed0/logits.npz")
    assert len(scores.clip_ids) == results["rows"][0]["num_clips"]
