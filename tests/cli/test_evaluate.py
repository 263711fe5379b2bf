import json

import pytest
import tf_keras
from prepared_clips import write_tiny_dataset
from tiny_network import build_tiny

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.recognizers import run_directory

CLASSES = ("class0", "class1", "class2")


@pytest.fixture
def data_and_runs(tmp_path, monkeypatch):
    """A prepared dataset, an RGB run and a flow run, of networks that are quick to build."""
    monkeypatch.setattr(run_directory, "build_from_config", build_tiny)
    tf_keras.utils.set_random_seed(0)
    for stream in ("rgb", "flow"):
        config = ExperimentConfig(stream=stream, clip=ClipConfig(6, 24, 32, short_side=28))
        model = build_tiny(config.model, len(CLASSES), stream)
        run_directory.save_run(tmp_path / stream, config, CLASSES, model)
    data = write_tiny_dataset(tmp_path / "data")
    return data, tmp_path / "rgb", tmp_path / "flow"


def test_runs_are_evaluated_and_fused(data_and_runs, tmp_path, capsys):
    data, rgb, flow = data_and_runs
    output = tmp_path / "results"
    assert main(["evaluate", f"--models={rgb},{flow}", f"--data={data}", f"--output={output}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    metrics = json.loads((output / "metrics.json").read_text())
    assert [line.split()[0] for line in lines[:2]] == ["rgb", "flow"]
    assert lines[2].startswith("all of them")
    assert f"{metrics['top1']:.2%}" in lines[2]
    assert f"{metrics['runs'][0]['top1']:.2%}" in lines[0]
    assert lines[3] == "7 clips of tiny, split test"


def test_one_run_with_another_clip_and_split(data_and_runs, tmp_path, capsys):
    data, rgb, _ = data_and_runs
    flags = [f"--models={rgb}", f"--data={data}", f"--output={tmp_path / 'r'}"]
    clip = ["--clip=4x16x20", "--short_side=18", "--frame_stride=2", "--split=train", "--batch=4"]
    assert main(["evaluate", *flags, *clip, "--noprogress"]) == 0
    captured = capsys.readouterr()
    assert "15 clips of tiny, split train" in captured.out
    assert "clip/s" not in captured.err
    (run,) = json.loads((tmp_path / "r" / "metrics.json").read_text())["runs"]
    assert main(["evaluate", *flags, "--views=3x2", "--noprogress"]) == 0
    assert "split test; means of 6 views of each" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert (metrics["windows"], metrics["crops"]) == (3, 2)
    assert (run["clip"], run["short_side"], run["frame_stride"]) == ("4x16x20", 18, 2)


def test_another_clip_keeps_each_networks_stride(data_and_runs, tmp_path):
    data, rgb, _ = data_and_runs
    config = ExperimentConfig(clip=ClipConfig(3, 24, 32, frame_stride=2))
    network = build_tiny(config.model, len(CLASSES))
    other = run_directory.save_run(tmp_path / "other", config, CLASSES, network).path
    words = [f"--models={rgb},{other}", f"--data={data}", f"--output={tmp_path / 'r'}"]
    assert main(["evaluate", *words, "--clip=4x16x20", "--noprogress"]) == 0
    runs = json.loads((tmp_path / "r" / "metrics.json").read_text())["runs"]
    assert [(run["clip"], run["frame_stride"]) for run in runs] == [("4x16x20", 1), ("4x16x20", 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--models=nowhere"], "a run is a folder"),
        (["--split=dev"], "split must be one of train, test"),
        (["--short_side=20"], "belong to --clip"),
        (["--clip=8x8"], "FRAMESxHEIGHTxWIDTH"),
        (["--clip=4x8x8", "--frame_stride=0"], "--frame_stride must be greater than 0"),
        (["--views=3"], "WINDOWSxCROPS"),
        (["--views=0x1"], "WINDOWSxCROPS"),
        (["--data=nowhere"], "A prepared dataset is a folder"),
    ],
)
def test_bad_input_prints_one_error_line(data_and_runs, tmp_path, refuses, changes, message):
    data, rgb, _ = data_and_runs
    flags = [f"--models={rgb}", f"--data={data}", f"--output={tmp_path / 'r'}"]
    refuses(["evaluate", *flags, *changes], message)
    assert not (tmp_path / "r").exists()
