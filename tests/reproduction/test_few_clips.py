"""Networks by the number of labelled clips, from end to end, with networks of one convolution."""

import dataclasses
import json

import pytest

from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.datasets.few_clips import write_few_clips
from perfnet_tf.errors import InputError
from perfnet_tf.recognizers.run_directory import read_run
from perfnet_tf.records.folder import read_index
from perfnet_tf.reproduction import runner
from perfnet_tf.reproduction.few_clips import (
    FewClipsConfig,
    _with_steps,
    different_counts,
    few_clips_table,
    parse_counts,
    reproduce_few_clips,
)
from perfnet_tf.reproduction.settings import choose_settings
from perfnet_tf.training.schedules import steps_per_epoch

EXPERIMENT = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("s3d_g", dropout_rate=0.1, weight_decay=0.001),
    train=TrainConfig(epochs=2, batch_size=5, learning_rate=0.1),
)
QUIET = runner.Execution(progress=False)
ROWS = ("rgb", "student_separate", "student_unlabelled", "flow+pose")


def ids(folder, split="train"):
    return {entry.clip_id for entry in read_index(folder, split)}


class TestSubsets:
    def test_each_class_gives_its_clips_and_the_rest_has_no_labels(self, data, tmp_path):
        few = write_few_clips(data, tmp_path / "few", 2, draw=0)
        drawn, others = ids(few.labelled), ids(few.unlabelled)
        assert (few.num_labelled, few.num_unlabelled) == (len(drawn), len(others)) == (6, 9)
        assert drawn | others == ids(data) and not drawn & others
        for label in range(3):
            assert sum(name.startswith(f"class{label}/") for name in drawn) == 2
        assert ids(few.labelled, "test") == ids(data, "test")

    def test_more_clips_hold_the_fewer_of_the_same_draw(self, data, tmp_path):
        one, two, other = (
            ids(write_few_clips(data, tmp_path / f"{count}-{draw}", count, draw).labelled)
            for count, draw in ((1, 0), (3, 0), (3, 1))
        )
        assert one < two
        assert two != other

    def test_all_clips_leave_nothing(self, data, tmp_path):
        for name, count in (("all", None), ("many", 100)):
            few = write_few_clips(data, tmp_path / name, count, draw=0)
            assert ids(few.labelled) == ids(data)
            assert few.unlabelled is None and few.num_unlabelled == 0


def settings():
    return choose_settings("mini", lambda kind, config: EXPERIMENT.replace(distill=config.distill))


@pytest.fixture
def config():
    return FewClipsConfig(settings(), "mini", counts=(1, None), seeds=(0, 1), rows=ROWS)


def test_every_row_is_measured_by_every_number_of_clips(
    data, config, tiny_networks, tmp_path, monkeypatch
):
    result, report = reproduce_few_clips(config, data, tmp_path, execution=QUIET)
    values = json.loads((tmp_path / "few_clips/results.json").read_text())["top1"]
    assert set(values) == set(ROWS)
    for row, by_count in values.items():
        # Where every clip has a label, none is left to learn from without.
        assert set(by_count) == ({"1"} if row == "student_unlabelled" else {"1", "all"})
        assert all(len(each) == 2 for each in by_count.values())
    table = few_clips_table(result)
    assert table.columns[1:] == ["1", "all"]
    assert [line[0] for line in table.rows][:2] == ["RGB, no teacher", "student of flow and pose"]
    assert "Few labelled clips" in report.read_text()

    # As many steps on 3 clips as on 15, and unlabelled clips where they belong.
    few, whole = tmp_path / "few_clips/1-seed0", tmp_path / "few_clips/all-seed0"
    records = {
        name: read_run(folder / "runs" / f"s3d_g-{network}-seed0")[2]
        for name, folder, network in (
            ("few", few, "student_unlabelled"),
            ("taught", few, "student_separate"),
            ("whole", whole, "rgb"),
        )
    }
    assert records["few"]["dataset"]["num_clips"] == 3
    assert records["few"]["unlabelled"]["num_clips"] == 12
    assert "unlabelled" not in records["taught"]
    assert records["few"]["steps"] == records["taught"]["steps"] == 6
    assert records["whole"]["steps"] == 6

    monkeypatch.setattr(runner, "train", None)  # called again, nothing is trained
    again, _ = reproduce_few_clips(config, data, tmp_path, execution=QUIET)
    assert again.top1 == result.top1


def test_counts_that_leave_no_clip_without_a_label_are_passed_over(data, config, tmp_path):
    rows = ("student_unlabelled",)
    folder = tmp_path / "few_clips"
    with pytest.raises(InputError, match="none is left. Received: `counts`=100,all"):
        reproduce_few_clips(
            dataclasses.replace(config, rows=rows, counts=(100, None)), data, tmp_path
        )
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("counts", "most", "different", "left_out"),
    [
        ((1, 2, 4, 8, None), 3, (1, 2, None), (4, 8)),
        ((1, 3, None), 3, (1, None), (3,)),
        ((8, 2, 4), 3, (8, 2), (4,)),
        ((1, 2, None), 5, (1, 2, None), ()),
        ((1, 2), 5, (1, 2), ()),
    ],
)
def test_counts_that_take_the_same_clips_are_trained_once(counts, most, different, left_out):
    assert different_counts(counts, most) == (different, left_out)


def test_what_the_records_lack_is_named_before_anything_is_trained(data, config, tmp_path):
    clips = write_few_clips(data, tmp_path / "few", 1, draw=0).labelled
    file = clips / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "pose": None}))
    with pytest.raises(InputError, match="stream 'pose' needs"):
        reproduce_few_clips(config, clips, tmp_path / "out", execution=QUIET)
    assert not (tmp_path / "out").exists()


def test_a_row_of_unlabelled_clips_alone_is_measured_where_there_are_some(
    data, config, tiny_networks, tmp_path
):
    counts = (1, 50, None)
    config = dataclasses.replace(config, rows=("student_unlabelled",), seeds=(0,), counts=counts)
    result, report = reproduce_few_clips(config, data, tmp_path, execution=QUIET)
    assert {row: list(by_count) for row, by_count in result.top1.items()} == {
        "student_unlabelled": [1]
    }
    assert "Left out: 50." in report.with_suffix(".md").read_text()


@pytest.mark.parametrize(
    ("num_all", "num_clips", "batch_size"),
    [(229, 8, 16), (229, 16, 16), (229, 64, 16), (60, 2, 32), (20, 2, 32), (90, 25, 16)],
)
def test_a_training_on_few_clips_has_about_as_many_steps(num_all, num_clips, batch_size):
    train = TrainConfig(epochs=80, batch_size=batch_size)
    longer = _with_steps(EXPERIMENT.replace(train=train), num_all, num_clips).train
    steps = longer.epochs * steps_per_epoch(num_clips, batch_size)
    assert steps == pytest.approx(80 * steps_per_epoch(num_all, batch_size), rel=0.25)


@pytest.mark.parametrize("words", [["0"], ["1", "some"], ["-1"]])
def test_numbers_that_are_none_are_refused(words):
    with pytest.raises(InputError, match="1 or greater, or all"):
        parse_counts(words)


def test_a_number_that_is_named_twice_is_refused(config):
    with pytest.raises(InputError, match="different numbers of clips. Received: 1, 1"):
        dataclasses.replace(config, counts=(1, 1))
