import importlib
import json
import shlex
from types import SimpleNamespace

import pytest

from perfnet_tf.cli.reproduce import reproduce_config
from perfnet_tf.demo import content, stages
from perfnet_tf.demo.stages import DemoConfig, DemoFolder, run_demo
from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.reproduction.plan import plan_runs
from perfnet_tf.reproduction.tables import NETWORKS


@pytest.fixture
def calls(monkeypatch):
    """Stages that do nothing but take note of it."""
    made = []

    def fake(name):
        return lambda *args, **options: made.append(name)

    for name in ("_generate", "_prepare", "_export", "_predict"):
        monkeypatch.setattr(stages, name, fake(name.strip("_")))
    monkeypatch.setattr(
        stages, "reproduce_table", lambda *a, **k: made.append("reproduce") or ("results", None)
    )
    return made


def test_every_stage_is_asked_again_after_a_stop(tmp_path, monkeypatch, capsys, calls):
    def stopped(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "reproduce_table", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_demo(tmp_path / "demo")
    demo = run_demo(tmp_path / "demo")
    assert calls == ["generate", "prepare", "generate", "prepare", "reproduce", "export", "predict"]
    assert "[3/5] train and measure the networks" in capsys.readouterr().out
    assert len(demo.seconds) == 5 and demo.reproduction == "results"


def test_the_time_of_a_stopped_stage_counts(tmp_path, monkeypatch, calls):
    clock = iter([100.0, 107.0])
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))

    def failing(*args, **options):
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(stages, "_generate", failing)
        with pytest.raises(RuntimeError):
            run_demo(tmp_path / "demo")
    clock = iter([200.0, 201.5, *map(float, range(300, 308))])
    demo = run_demo(tmp_path / "demo")
    assert demo.seconds["generate videos"] == 8.5


def test_a_folder_of_another_demo_or_of_anything_else_is_refused(tmp_path, calls):
    run_demo(tmp_path / "demo")
    with pytest.raises(InputError, match="other arguments"):
        run_demo(tmp_path / "demo", DemoConfig(seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="new or an empty folder"):
        run_demo(tmp_path / "other", DemoConfig())
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_a_prediction_that_fails_is_a_failure_in_one_line(tmp_path, monkeypatch):
    result = SimpleNamespace(returncode=1, stderr="a warning\nno such model\n", stdout="")
    monkeypatch.setattr(stages.subprocess, "run", lambda *args, **options: result)
    with pytest.raises(FailureError, match="^perfnet predict failed: no such model$"):
        stages._predict(DemoFolder(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("config", [DemoConfig(), DemoConfig(6, epochs=2, seed=3)])
def test_the_reports_commands_mean_what_the_demo_ran(tmp_path, config):
    folder = DemoFolder(tmp_path / "my demo")  # a name that a shell would take for two
    seen = []
    for _, command in content.list_commands(folder, config):
        words = shlex.split(command)
        assert words[0] == "perfnet"
        module = importlib.import_module(f"perfnet_tf.cli.{words[1]}")
        flags = module.COMMAND.flags
        flags.unparse_flags()
        for name in flags:
            flags[name].unparse()
        positional = flags(["perfnet", *words[2:]])[1:]
        seen.append(words[1])
        if words[1] == "demo":
            assert flags.output == str(folder.path) and flags.seed == config.seed
            assert flags.clips_per_class == config.clips_per_class
            assert flags.epochs == config.epochs
        elif words[1] == "prepare":
            for name in ("fps", "short_side", "pose", "max_people", "flow", "flow_bound"):
                assert flags[name].value == getattr(config.prepare, name), name
            assert (flags.videos, flags.output) == (str(folder.videos), str(folder.records))
        elif words[1] == "reproduce":
            assert reproduce_config(flags, positional[0]) == config.reproduce
            assert (flags.data, flags.output) == (str(folder.records), str(folder.path))
        elif words[1] == "export":
            assert flags.output == str(folder.saved_model)
        elif words[1] == "predict":
            assert positional == [str(folder.predicted_video)]
            assert flags.model == str(folder.saved_model)
    assert seen == ["demo", "prepare", "reproduce", "export", "predict"]


def test_the_demo_trains_each_stream_and_two_students_from_the_pose_teacher():
    config = DemoConfig().reproduce
    plan = plan_runs({"s3d_g": config.selected_rows}, config.settings, (0,), student_start="pose")
    assert [run.network.name for run in plan] == [
        "rgb",
        "flow",
        "pose",
        "student_unified",
        "student_separate",
    ]
    students = [run for run in plan if NETWORKS[run.network.name].teachers]
    assert {run.start for run in students} == {"s3d_g-pose-seed0"}
    assert all(run.teachers.keys() == {"flow", "pose"} for run in students)
    # Mirrored, a left arm would be a right one.
    assert all(run.config.train.mirror is False for run in plan)


def test_arguments_are_kept_as_plain_json(tmp_path, calls):
    run_demo(tmp_path / "demo", DemoConfig(epochs=2))
    saved = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert saved["arguments"]["epochs"] == 2
