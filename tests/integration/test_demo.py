"""The demo from end to end, at its smallest: one test and one training video of each action."""

import json
import re
import shlex

import pytest

from perfnet_tf.cli.main import main
from perfnet_tf.demo.content import list_commands
from perfnet_tf.demo.stages import ROWS, DemoConfig, DemoFolder

pytestmark = pytest.mark.slow
ARGUMENTS = ["--clips_per_class=2", "--epochs=1"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "output"
    assert main(["demo", f"--output={output}", *ARGUMENTS]) == 0
    return DemoFolder(output)


def test_the_report_holds_every_result(demo):
    document = demo.report.read_text()
    for name in (
        "RGB + Flow + Pose",
        "student of flow and pose, separate loss (PERF-Net)",
        "student of flow and pose, unified loss",
    ):
        assert f"<td>{name}</td>" in document
    # Five curves, two clips and a prediction.
    assert len(re.findall(r"data:image/png;base64,", document)) == 8
    assert "Measured on 10 test clips of 10 classes" in document
    results = json.loads((demo.path / "table4/results.json").read_text())
    rows = {row["row"]: row for row in results["rows"]}
    assert set(rows) == set(ROWS)
    for row in rows.values():
        assert row["num_clips"] == 10
        assert f"{100 * row['top1']['mean']:.1f}" in document


def test_the_exported_student_has_classified_the_video(demo):
    answer = json.loads((demo.path / "prediction.json").read_text())
    shares = [entry["probability"] for entry in answer["top"]]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True)
    assert answer["video"] == str(demo.predicted_video)


def test_a_second_call_does_nothing_again(demo, capsys):
    files = [path for path in demo.path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert main(["demo", f"--output={demo.path}", *ARGUMENTS]) == 0
    captured = capsys.readouterr()
    assert "5 runs, 5 of them there already" in captured.err
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    reports = {path for path in before if path.is_relative_to(demo.path / "table4")}
    assert changed <= reports | {demo.report, demo.path / "demo.json"}
    assert main(["demo", f"--output={demo.path}", "--clips_per_class=3"]) == 2


def test_its_commands_find_everything_done(demo, capsys):
    """A run of other settings would be refused, so this says that the settings are the same."""
    for _, command in list_commands(demo, DemoConfig(clips_per_class=2, epochs=1)):
        words = shlex.split(command)[1:]
        if words[0] in ("prepare", "reproduce"):
            assert main(words) == 0, command
            captured = capsys.readouterr()
            assert "complete" in captured.out or "5 of them there already" in captured.err, command
