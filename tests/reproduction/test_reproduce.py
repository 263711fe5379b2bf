"""A table from end to end, with networks of one convolution."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.recognizers.run_directory import load_run, read_run, save_run
from perfnet_tf.records.folder import read_dataset_info, read_index, write_dataset_info
from perfnet_tf.reporting.markdown import escape
from perfnet_tf.reproduction import runner
from perfnet_tf.reproduction.plan import begin_with, plan_runs
from perfnet_tf.reproduction.reporting import format_results
from perfnet_tf.reproduction.reproduce import ReproduceConfig, reproduce_table
from perfnet_tf.reproduction.settings import choose_settings
from perfnet_tf.reproduction.tables import TABLES

EXPERIMENT = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("s3d_g", dropout_rate=0.1, weight_decay=0.001),
    train=TrainConfig(epochs=2, batch_size=5, learning_rate=0.1),
)
QUIET = runner.Execution(progress=False)
ROWS = ("rgb", "student_flow", "flow", "rgb+flow")


@pytest.fixture(autouse=True)
def _tiny(tiny_networks):
    pass


def settings(**train):
    def change(kind, config):
        base = EXPERIMENT.replace(distill=config.distill)
        return base.replace(train=dataclasses.replace(base.train, **train))

    return choose_settings("mini", change)


def config(table="table4", *, rows=ROWS, seeds=(0, 1), train=None, **options):
    return ReproduceConfig(
        TABLES[table], settings(**(train or {})), "mini", rows=rows, seeds=seeds, **options
    )


def reproduce(data, output, *args, **options):
    return reproduce_table(config(*args, **options), data, output, execution=QUIET)


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(runner, "train", refuse)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    from tiny_network import build_tiny

    from perfnet_tf.recognizers import run_directory
    from perfnet_tf.training import start

    output = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(start, "build_from_config", build_tiny)
        patch.setattr(run_directory, "build_from_config", build_tiny)
        reproduction, report = reproduce(data, output)
    return output, reproduction, report


@pytest.fixture
def copied(finished, tmp_path):
    """The finished table, to do harm to."""
    shutil.copytree(finished[0], tmp_path / "output")
    return tmp_path / "output"


def test_figures_are_those_of_the_saved_logits(finished):
    output, reproduction, _ = finished
    rows = {
        row["row"]: row for row in json.loads((output / "table4/results.json").read_text())["rows"]
    }
    assert list(rows) == list(ROWS)

    def logits(network, seed):
        return ClipScores.load(output / f"evaluation/s3d_g-{network}-seed{seed}/logits.npz")

    def top1(networks, seed):
        parts = [logits(network, seed) for network in networks]
        answers = np.sum([part.logits for part in parts], axis=0).argmax(axis=1)
        return np.mean(answers == parts[0].labels)

    fused = [top1(("rgb", "flow"), seed) for seed in (0, 1)]
    assert rows["rgb+flow"]["top1"]["values"] == pytest.approx(fused)
    assert rows["rgb+flow"]["top1"]["mean"] == pytest.approx(np.mean(fused))
    assert rows["rgb+flow"]["top1"]["std"] == pytest.approx(np.std(fused, ddof=1))
    gains = [top1(("student_flow",), seed) - top1(("rgb",), seed) for seed in (0, 1)]
    assert rows["student_flow"]["gain"]["values"] == pytest.approx(gains)
    assert rows["rgb"]["gain"] is None
    assert rows["student_flow"]["paper"]["r3d50_g"] == {"top1": 80.6, "top5": 94.6}
    assert {row["num_clips"] for row in rows.values()} == {7}


def test_other_views_are_measured_again_and_noted(data, copied, no_training):
    def scores():
        return ClipScores.load(copied / "evaluation/s3d_g-rgb-seed1/logits.npz").logits

    central = scores()
    _, report = reproduce(data, copied, rows=("rgb",), views=(3, 1))
    assert np.abs(scores() - central).max() > 1e-4
    measured = "by the mean of the logits of the central crop in each of 3 windows."
    assert measured in (report.parent / "report.md").read_text()
    assert json.loads((report.parent / "results.json").read_text())["views"] == [3, 1]
    _, report = reproduce(data, copied, rows=("rgb",))
    assert "one central crop a clip" in (report.parent / "report.md").read_text()
    np.testing.assert_array_equal(scores(), central)


def test_all_students_may_start_from_the_pose_network():
    """Also those of flow alone: rows differ by what teaches, and by nothing else."""
    plan = plan_runs({"s3d_g": TABLES["table4"].rows}, settings(), (0, 3), student_start="pose")
    starts = {run.name: run.start for run in plan if run.start is not None}
    students = ("student_flow", "student_pose", "student_unified", "student_separate")
    assert starts == {
        f"s3d_g-{name}-seed{seed}": f"s3d_g-pose-seed{seed}"
        for name in ("rgb_from_pose", *students)
        for seed in (0, 3)
    }
    rows = (TABLES["table4"].row("student_flow"),)
    names = [run.name for run in plan_runs({"s3d_g": rows}, settings(), (0,), student_start="pose")]
    assert names == ["s3d_g-flow-seed0", "s3d_g-pose-seed0", "s3d_g-student_flow-seed0"]
    with pytest.raises(InputError, match="`student_start` must be one of pose. Received: 'flow'"):
        plan_runs({"s3d_g": TABLES["table4"].rows}, settings(), (0,), student_start="flow")


def test_a_student_that_started_from_its_teacher_is_not_taken_for_another(data, tmp_path):
    rows = ("student_pose",)
    first, _ = reproduce(data, tmp_path / "out", rows=rows, seeds=(0,), student_start="pose")
    run = tmp_path / "out/runs/s3d_g-student_pose-seed0"
    record = json.loads((run / "run.json").read_text())
    assert record["initial"] == str(tmp_path / "out/runs/s3d_g-pose-seed0")
    (tmp_path / "out").rename(tmp_path / "moved")
    again, _ = reproduce(data, tmp_path / "moved", rows=rows, seeds=(0,), student_start="pose")
    assert again.results[0].top1.values == first.results[0].top1.values
    with pytest.raises(InputError, match="initial was .*, is None"):
        reproduce(data, tmp_path / "moved", rows=rows, seeds=(0,))


def test_the_reports_hold_both_figures_curves_and_confusions(finished):
    output, reproduction, report = finished
    page = report.read_text()
    markdown = (output / "table4/report.md").read_text()
    lines = markdown.splitlines()
    for row in reproduction.results:
        mean = f"{100 * row.top1.mean:.1f}"
        line = next(x for x in lines if x.startswith(f"| {escape(row.row.title)} |"))
        assert mean in line
        assert mean in format_results(reproduction)
    assert "80.6, 94.6" in page and "80.6, 94.6" in markdown
    assert len(re.findall("data:image/png;base64,", page)) == 3 + 3  # curves, single networks
    for file in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", markdown):
        assert (output / "table4" / file).stat().st_size > 1000
    assert "Gain over RGB, class by class" in page
    for setting in ("learning rate", "teachers of student flow", "training clip"):
        assert f"<dt>{setting}</dt>" in page


def test_called_again_nothing_is_trained_and_another_table_takes_the_same_runs(
    copied, data, no_training
):
    before = {path: path.stat().st_mtime_ns for path in copied.glob("runs/*/weights.*")}
    reproduce(data, copied)
    reproduce(data, copied, "table3", rows=("rgb", "flow", "rgb+flow"))
    assert {path: path.stat().st_mtime_ns for path in copied.glob("runs/*/weights.*")} == before
    assert (copied / "table3/report.html").exists()


def test_a_run_in_a_folder_of_an_earlier_name_is_used_again(data, tmp_path, request):
    rows = ("pose_black_bar_13_ratio",)
    first, _ = reproduce(data, tmp_path, "table2", rows=rows, seeds=(0,))
    for parent in ("runs", "evaluation"):
        made = tmp_path / parent / "s3d_g-pose_black_bar_13_ratio-seed0"
        made.rename(made.with_name("s3d_g-pose_black_bar_13-seed0"))
    request.getfixturevalue("no_training")
    again, _ = reproduce(data, tmp_path, "table2", rows=("pose_black_bar_13",), seeds=(0,))
    assert again.results[0].top1 == first.results[0].top1
    assert [path.name for path in (tmp_path / "runs").glob("s3d*")] == [
        "s3d_g-pose_black_bar_13-seed0"
    ]


def test_another_setting_is_refused_by_name_before_anything_is_trained(copied, data, no_training):
    with pytest.raises(InputError, match=r"s3d_g-rgb-seed0 .*train.learning_rate was 0.1, is 0.2"):
        reproduce(data, copied, train={"learning_rate": 0.2}, seeds=(2, 0))


def with_other_records(data, folder, split):
    """The dataset as it would be of other videos: as many clips, other bytes."""
    shutil.copytree(data, folder)
    info = json.loads((folder / "dataset.json").read_text())
    info["splits"][split]["sha256"][0] = "0" * 64
    (folder / "dataset.json").write_text(json.dumps(info))
    return folder


def test_other_training_clips_are_refused_and_other_test_clips_measured_again(
    copied, data, tmp_path, no_training, monkeypatch
):
    with pytest.raises(InputError, match="another run .*data.records_sha256 was"):
        reproduce(with_other_records(data, tmp_path / "train", "train"), copied)
    measured = []
    evaluate = runner.evaluate_runs
    monkeypatch.setattr(
        runner, "evaluate_runs", lambda *a, **o: measured.append(1) or evaluate(*a, **o)
    )
    other = with_other_records(data, tmp_path / "test", "test")
    reproduce(other, copied, rows=("rgb",), seeds=(0,))
    assert measured == [1]
    reproduce(other, copied, rows=("rgb",), seeds=(0,))
    assert measured == [1]
    identity = copied / "evaluation/s3d_g-rgb-seed0/evaluation.json"
    stated = json.loads(identity.read_text())
    del stated["records_sha256"]  # as earlier versions left it
    identity.write_text(json.dumps(stated))
    reproduce(other, copied, rows=("rgb",), seeds=(0,))
    assert measured == [1]


def test_a_student_of_weights_that_are_gone_is_refused(copied, data):
    shutil.rmtree(copied / "runs/s3d_g-flow-seed1")
    reproduce(data, copied, rows=("flow",), seeds=(1,), train={})
    with pytest.raises(InputError, match="seed1 holds another run .*weights of the teacher flow"):
        weights = copied / "runs/s3d_g-flow-seed1/weights.data-00000-of-00001"
        weights.write_bytes(weights.read_bytes()[::-1])
        reproduce(data, copied)


def test_a_moved_output_is_still_the_same(copied, data, no_training, monkeypatch):
    moved = copied.rename(copied.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    reproduce(data, "moved")


def test_stopped_in_the_middle_the_rest_is_trained_and_measured(data, tmp_path, monkeypatch):
    original, trained = runner.train, []

    def train_two(config, data, output, **options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(output.name)
        return original(config, data, output, **options)

    monkeypatch.setattr(runner, "train", train_two)
    with pytest.raises(KeyboardInterrupt):
        reproduce(data, tmp_path, seeds=(0,))
    assert trained == ["s3d_g-rgb-seed0", "s3d_g-flow-seed0"]
    trained.clear()
    monkeypatch.setattr(
        runner, "train", lambda c, d, o, **x: (trained.append(o.name), original(c, d, o, **x))
    )
    reproduction, _ = reproduce(data, tmp_path, seeds=(0,))
    assert trained == ["s3d_g-student_flow-seed0"]
    assert len(reproduction.results) == 4
    assert reproduction.results[0].top1.deviation is None  # of one seed there is none


def test_a_run_that_was_trained_again_is_measured_again(copied, data):
    shutil.rmtree(copied / "runs/s3d_g-rgb-seed0")
    scores = copied / "evaluation/s3d_g-rgb-seed0/logits.npz"
    scores.write_bytes(b"stale")
    (copied / "evaluation/s3d_g-rgb-seed0/evaluation.json").unlink()
    reproduce(data, copied)
    assert ClipScores.load(scores).logits.shape == (7, 3)


def test_another_evaluation_clip_measures_again_without_training(copied, data, no_training):
    longer = settings()
    for kind, one in longer["s3d_g"].items():
        longer["s3d_g"][kind] = one.replace(eval_clip=ClipConfig(9, 24, 32, short_side=28))
    wanted = dataclasses.replace(config(), settings=longer)
    reproduce_table(wanted, data, copied, execution=QUIET)
    metrics = json.loads((copied / "evaluation/s3d_g-rgb-seed0/metrics.json").read_text())
    assert metrics["runs"][0]["clip"] == "9x24x32"


def test_validation_needs_no_test_clip_and_measures_on_other_groups(data, tmp_path):
    only_train = tmp_path / "data"
    shutil.copytree(data, only_train)
    for path in only_train.glob("test*"):
        path.unlink()
    info = read_dataset_info(only_train)
    write_dataset_info(
        only_train, dataclasses.replace(info, splits={"train": info.splits["train"]})
    )
    reproduction, report = reproduce(
        only_train,
        tmp_path / "output",
        rows=("rgb",),
        seeds=(0,),
        validation_fold=1,
        train={"validate_every_epochs": 1},
    )
    assert report.parts[-3:] == ("validation1", "table4", "report.html")
    subset = tmp_path / "output/validation1/data"
    train, held = ({e.clip_id for e in read_index(subset, s)} for s in ("train", "val"))
    everything = {entry.clip_id for entry in read_index(data, "train")}
    assert not train & held and train | held == everything
    scores = ClipScores.load(tmp_path / "output/validation1/evaluation/s3d_g-rgb-seed0/logits.npz")
    assert set(scores.clip_ids) == held
    assert (reproduction.split, reproduction.num_train) == ("val", len(train))
    assert "Top-1 of the validation clips" in report.read_text()


def test_curves_over_test_clips_are_refused():
    with pytest.raises(InputError, match="goes with `validation_fold`"):
        config(train={"validate_every_epochs": 1})


def test_names_of_classes_are_shown_as_they_are(data, tmp_path):
    renamed = tmp_path / "data"
    shutil.copytree(data, renamed)
    info = read_dataset_info(renamed)
    name = "<b>$x_1$ | `kick`"
    write_dataset_info(renamed, dataclasses.replace(info, classes=(name, *info.classes[1:])))
    _, report = reproduce(renamed, tmp_path / "output", rows=("rgb", "flow"), seeds=(0,))
    page, markdown = report.read_text(), report.with_suffix(".md").read_text()
    assert "<b>$x" not in page and "&lt;b&gt;$x_1$ | `kick`" in page
    assert r"\<b\>\$x\_1\$ \| \`kick\`" in markdown


def test_all_networks_start_from_one_whatever_their_stream(data, tmp_path):
    from tiny_network import build_tiny, fixed_weights

    network = build_tiny(ModelConfig("tiny", options={"batch_norm": False}), 7)
    fixed_weights(network)
    known = ExperimentConfig(
        model=ModelConfig("tiny", weight_decay=0.5, options={"batch_norm": False})
    )
    start = save_run(tmp_path / "known", known, list("abcdefg"), network).path
    chosen = begin_with(settings(epochs=1, learning_rate=1e-9), str(start))
    assert list(chosen) == ["tiny"]
    rows = ("rgb", "student_flow", "flow", "pose")
    asked = ReproduceConfig(TABLES["table4"], chosen, "mini", rows=rows, start=str(start))
    reproduce_table(asked, data, tmp_path / "out", execution=QUIET)
    for name in ("rgb", "flow", "pose", "student_flow"):
        config, _, record = read_run(tmp_path / f"out/runs/tiny-{name}-seed0")
        assert record["initial"] == str(start)
        assert config.model.options == {"batch_norm": False}
        assert config.model.weight_decay == 0.001  # of the settings
    kernels = {
        name: load_run(tmp_path / f"out/runs/tiny-{name}-seed0").model.unit.conv.kernel.numpy()
        for name in ("rgb", "flow", "pose", "student_flow")
    }
    first = network.unit.conv.kernel.numpy()
    for name in ("rgb", "pose", "student_flow"):
        np.testing.assert_allclose(kernels[name], first, atol=1e-5)
    averaged = np.repeat(first.mean(axis=3, keepdims=True), 2, axis=3)
    ratio = kernels["flow"] / averaged
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-3)
