"""The demo from end to end, at its smallest: one test and one training video of each action."""

import json
import re
import shlex

import pytest

from perfnet_tf.cli.main import main
from perfnet_tf.demo.content import list_commands
from perfnet_tf.demo.stages import DemoConfig, DemoFolder

pytestmark = pytest.mark.slow
ARGUMENTS = ["--clips_per_class=2", "--epochs=1"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    output = tmp_path_factory.mktemp("demo") / "output"
    assert main(["demo", f"--output={output}", *ARGUMENTS]) == 0
    return DemoFolder(output)


def test_the_report_holds_every_result(demo):
    document = demo.report.read_text()
    for name in ("RGB + flow + pose", "student, separate loss", "student, unified loss"):
        assert f"<td>{name}</td>" in document
    assert len(re.findall(r"data:image/png;base64,", document)) == 5
    assert "Measured on 10 test clips of 10 classes" in document
    for name in ("rgb+flow", "rgb+pose", "rgb+flow+pose", "student_separate", "student_unified"):
        metrics = json.loads((demo.evaluation(name) / "metrics.json").read_text())
        assert metrics["num_clips"] == 10
        assert f"{100 * metrics['top1']:.1f}" in document


def test_the_exported_student_has_classified_the_video(demo):
    answer = json.loads((demo.path / "prediction.json").read_text())
    shares = [entry["probability"] for entry in answer["top"]]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True)
    assert answer["video"] == str(demo.predicted_video)


def test_a_second_call_does_nothing_again(demo, capsys):
    before = {path: path.stat().st_mtime_ns for path in demo.path.rglob("*") if path.is_file()}
    assert main(["demo", f"--output={demo.path}", *ARGUMENTS]) == 0
    out = capsys.readouterr().out
    assert out.count("done before") == 10
    changed = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"report.html"}
    assert main(["demo", f"--output={demo.path}", "--clips_per_class=3"]) == 2


def test_its_commands_find_everything_done(demo, capsys):
    """A run of other settings would be refused, so this says that the settings are the same."""
    for _, command in list_commands(demo, DemoConfig(clips_per_class=2, epochs=1)):
        words = shlex.split(command)[1:]
        if words[0] in ("prepare", "train", "distill"):
            assert main(words) == 0, command
            out = capsys.readouterr().out
            assert "complete" in out or "nothing is left to train" in out, command
