import importlib
import json
import shlex

import pytest

from perfnet_tf.cli.distill import experiment_of
from perfnet_tf.cli.experiment_flags import apply_flags, preset_of
from perfnet_tf.demo import content, stages
from perfnet_tf.demo.stages import DemoConfig, DemoFolder, Journal, run_demo
from perfnet_tf.errors import InputError


def fake_stages(calls, *, failing=()):
    def stage(name):
        def work():
            calls.append(name)
            if name in failing:
                raise KeyboardInterrupt

        return work

    return {name: stage(name) for name in ("first", "second", "third")}


def test_a_demo_goes_on_with_the_stage_at_which_it_was_stopped(tmp_path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(stages, "_stages", lambda *a, **k: fake_stages(calls, failing=["second"]))
    with pytest.raises(KeyboardInterrupt):
        run_demo(tmp_path / "demo")
    monkeypatch.setattr(stages, "_stages", lambda *a, **k: fake_stages(calls))
    run_demo(tmp_path / "demo")
    assert calls == ["first", "second", "second", "third"]
    assert "[1/3] first: done before" in capsys.readouterr().out
    journal = Journal(tmp_path / "demo", DemoConfig())
    assert list(journal.seconds) == ["first", "second", "third"]
    assert all(journal.is_done(name) for name in journal.seconds)


def test_the_time_of_a_stopped_stage_counts(tmp_path, monkeypatch):
    clock = iter([100.0, 107.0, 200.0, 201.5])
    journal = Journal(tmp_path / "demo", DemoConfig())
    monkeypatch.setattr(stages.time, "monotonic", lambda: next(clock))
    with pytest.raises(RuntimeError), journal.measured("train"):
        raise RuntimeError
    assert not journal.is_done("train")
    with journal.measured("train"):
        pass
    assert journal.seconds == {"train": 8.5} and journal.is_done("train")


def test_a_folder_of_another_demo_or_of_anything_else_is_refused(tmp_path):
    Journal(tmp_path / "demo", DemoConfig())
    with pytest.raises(InputError, match="other arguments"):
        Journal(tmp_path / "demo", DemoConfig(seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="new or an empty folder"):
        Journal(tmp_path / "other", DemoConfig())
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


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
        elif words[1] == "train":
            expected = config.training(flags.stream)
            assert apply_flags(flags, preset_of(flags)).replace(distill=None) == expected
            assert flags.output == str(folder.run(flags.stream))
        elif words[1] == "distill":
            assert experiment_of(flags) == config.training("rgb", flags.loss)
            assert flags.output == str(folder.run(f"student_{flags.loss}"))
            assert flags["from"].value == str(folder.run("pose"))
            assert flags.teachers == [
                f"flow={folder.run('flow')}",
                f"pose={folder.run('pose')}",
            ]
        elif words[1] == "predict":
            assert positional == [str(folder.predicted_video)]
            assert flags.model == str(folder.saved_model)
    assert seen == (
        ["demo", "prepare", "train", "train", "train", "distill", "distill"]
        + ["evaluate", "evaluate", "export", "predict"]
    )


def test_no_training_of_the_demo_mirrors_left_and_right():
    for experiment in (DemoConfig().training("flow"), DemoConfig().training("rgb", "unified")):
        assert experiment.train.mirror is False


def test_arguments_are_kept_as_plain_json(tmp_path):
    Journal(tmp_path / "demo", DemoConfig(epochs=2))
    saved = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert saved["arguments"]["epochs"] == 2
    assert saved["arguments"]["experiment"]["clip"]["num_frames"] == 16
