import dataclasses
import json

import numpy as np
import pytest
from prepared_clips import make_clip, write_dataset

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.datasets.official_splits import write_official_splits
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.folder import read_dataset_info, write_dataset_info
from perfnet_tf.reproduction import runner
from perfnet_tf.reproduction.table7 import table7_config
from perfnet_tf.training.trainer import train

EXPERIMENT = ExperimentConfig(
    clip=ClipConfig(4, 16, 24, short_side=20),
    model=ModelConfig("s3d_g", dropout_rate=0.0),
    train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.1),
)
FLAGS = ("--epochs=1", "--batch=4", "--noprogress")


@pytest.fixture(autouse=True)
def _tiny(tiny_networks):
    pass


@pytest.fixture
def prepared(tmp_path):
    """Nine clips, prepared as UCF-101 is with --official_split=all; tested on three each."""
    clips = [make_clip(n, n % 3, frames=5, height=24, width=32) for n in range(9)]
    folder = write_dataset(
        tmp_path / "data", {"train": clips[:6], "test": clips[6:]}, num_classes=3
    )
    write_dataset_info(folder, dataclasses.replace(read_dataset_info(folder), name="ucf101"))
    ids = [clip.clip_id for clip in clips]
    parts = {1: ids[6:], 2: ids[3:6], 3: ids[:3]}
    write_official_splits(
        folder,
        {
            n: {"test": part, "train": [x for x in ids if x not in part]}
            for n, part in parts.items()
        },
    )
    return folder, parts


@pytest.fixture
def start(data, tmp_path):
    """A run on other clips, to start from."""
    return train(EXPERIMENT, data, tmp_path / "start", progress=False).path


def test_every_split_is_trained_and_measured_on_its_own_clips(
    prepared, start, tmp_path, capsys, monkeypatch
):
    folder, parts = prepared
    command = ["finetune", f"--data={folder}", f"--from={start}", "--official_splits=all"]
    command += [f"--output={tmp_path / 'out'}", *FLAGS]
    assert main(command) == 0
    values = []
    for number, ids in parts.items():
        scores = ClipScores.load(tmp_path / f"out/evaluation/split{number}/logits.npz")
        assert set(scores.clip_ids) == set(ids)
        values.append(float(np.mean(scores.logits.argmax(axis=1) == scores.labels)))
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [s["top1"] for s in metrics["splits"].values()] == pytest.approx(values)
    assert metrics["top1"] == pytest.approx(np.mean(values))
    assert {s["num_train"] for s in metrics["splits"].values()} == {6}
    record = json.loads((tmp_path / "out/runs/split2/run.json").read_text())
    assert record["initial"] == str(start) and record["dataset"]["name"] == "ucf101-split2"
    printed = capsys.readouterr().out
    assert "mean " in printed and "(3 splits)" in printed
    assert "3 of the 101 classes of ucf101" in printed

    monkeypatch.setattr(runner, "train", lambda *args, **options: pytest.fail("trained again"))
    assert main(command) == 0
    assert main([*command, "--learning_rate=0.5"]) == 2
    assert "train.learning_rate was 0.005, is 0.5" in capsys.readouterr().err


def test_table_7_has_the_mean_of_the_splits_next_to_the_papers(prepared, start, tmp_path, capsys):
    folder, _ = prepared
    command = ["reproduce", "table7", f"--data={folder},{folder / 'split1'}", "--preset=mini"]
    command += [f"--from=kinetics600={start}", f"--output={tmp_path / 'out'}", *FLAGS]
    assert main(command) == 0
    printed = capsys.readouterr().out
    rows = json.loads((tmp_path / "out/table7/results.json").read_text())["rows"]
    whole, single = rows
    assert (whole["paper_top1"], whole["dataset"]) == (98.2, "ucf101")
    each = [split["top1"] for split in whole["seeds"]["0"].values()]
    assert whole["top1"]["values"] == pytest.approx([np.mean(each)]) and len(each) == 3
    assert single["seeds"]["0"]["1"]["top1"] == pytest.approx(each[0])
    page = (tmp_path / "out/table7/report.html").read_text()
    assert "One split only: ucf101-split1." in page and "98.2" in page
    assert f"{100 * np.mean(each):.1f}" in printed


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("table7", "--preset=mini"), "table7 needs --from=NAME=RUN"),
        (("table7", "--rows=rgb"), "table7 has no --rows"),
        (("table7", "--counts=1"), "table7 has no --counts"),
        (("table4", "--from=a=b"), "table4 has no --from"),
        (("table4", "--counts=1"), "table4 has no --counts"),
        (("few_clips", "--split=val"), "few_clips has no --split"),
        (("few_clips", "--preset=mini", "--counts=0"), "1 or greater, or all"),
        (
            ("table5",),
            "TABLE must be one of table2, table3, table4, table6, terms, table7, few_clips",
        ),
        ((), "One table is named"),
        (("table4", "--preset=maxi"), "--preset must be one of paper, small, mini"),
        (("table4", "--seeds=one"), "--seeds takes whole numbers"),
        (("table4", "--teacher_weight=rgb=2"), "--teacher_weight must be one of flow, pose"),
        (("table4", "--flow=--epoch=3"), "--flow: Unknown command line flag 'epoch'"),
        (("table4", "--validate_every_epochs=5"), "goes with --validation"),
        (("table4", "--validation", "--split=test"), "Leave one of them out"),
        (("table4", "--student=--backbone=r3d50_g"), "have one backbone"),
        (("table2", "--preset=paper", "--rows=flow"), "A row of table2 must be one of"),
    ],
)
def test_bad_flags_are_refused_in_one_line(data, tmp_path, refuses, flags, message):
    refuses(["reproduce", *flags, f"--data={data}", f"--output={tmp_path}"], message)


def test_fine_tuning_keeps_the_network_and_drops_the_teachers():
    theirs = EXPERIMENT.replace(model=ModelConfig("s3d_g", 0.25))
    run = Run(None, theirs, ("a",), None)
    paper = table7_config("paper", "hmdb51", run)
    assert (paper.model, paper.resolved_eval_clip.num_frames) == (theirs.model, 64)
    mini = table7_config("mini", "ucf101", run)
    assert (mini.clip, mini.train.epochs, mini.distill) == (theirs.clip, 30, None)
