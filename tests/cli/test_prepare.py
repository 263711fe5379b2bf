import json
import shutil

import numpy as np
import pytest
from prepared_records import read_clip
from ucf_clips import copy_two_clips

from perfnet_tf.cli.main import main
from perfnet_tf.cli.prepare import COMMAND
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.synthetic.dataset import CLASSES, SyntheticConfig, generate_synthetic_dataset


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Three groups of ten actions: 20 clips to train on, 10 to test on."""
    folder = tmp_path_factory.mktemp("synthetic")
    generate_synthetic_dataset(
        folder, SyntheticConfig(clips_per_class=3, width=64, height=48, num_frames=8)
    )
    return folder


def run(*arguments):
    for name in COMMAND.flags:  # each command line starts from the defaults
        COMMAND.flags[name].unparse()
    return main(["prepare", *arguments])


def prepare(dataset, videos, output, *flags):
    places = (f"--dataset={dataset}", f"--videos={videos}", f"--output={output}")
    return run(*places, "--workers=0", "--short_side=32", *flags)


def one_line(text):
    lines = [line for line in text.splitlines() if line.startswith("perfnet ")]
    assert len(lines) == 1 and "Traceback" not in text
    return lines[0]


def test_synthetic_videos_become_records_with_all_streams(synthetic, tmp_path, capsys):
    output = tmp_path / "records"
    flags = ("--pose=keypoints", "--flow=dis", "--max_people=2", "--clips_per_shard=8")
    assert prepare("synthetic", synthetic, output, *flags) == 0
    printed = capsys.readouterr()
    num_classes = len(CLASSES)
    assert f"made {3 * num_classes} clips" in printed.out and "clips/s" in printed.out
    assert f"train: {2 * num_classes} clips" in printed.out and "MiB" in printed.out
    assert "30/30 clips" in printed.err and "clips/s" in printed.err  # progress with a rate
    info = read_dataset_info(output)
    assert info.name == "synthetic" and info.classes == CLASSES
    assert (info.pose, info.flow, info.max_people, info.short_side) == ("keypoints", "dis", 2, 32)
    clip = read_clip(output, f"{CLASSES[0]}/v_{CLASSES[0]}_g01_c01")
    # 64x48 became 43x32; 8 frames at 25 fps stay.
    assert clip.frames.shape == (8, 32, 43, 3) and clip.flow.shape == (8, 32, 43, 2)
    assert clip.keypoints.shape == (8, 2, 17, 3) and clip.keypoints[:, 0, :, 2].max() == 1
    assert np.ptp(clip.frames) > 50

    assert prepare("synthetic", synthetic, output, *flags) == 0
    assert "already complete" in capsys.readouterr().out
    assert prepare("synthetic", synthetic, output, *flags[1:], "--pose=none") == 2
    assert "other settings" in one_line(capsys.readouterr().err)


def test_absent_synthetic_folder_is_generated(tmp_path, monkeypatch):
    from perfnet_tf.synthetic import dataset as synthetic

    small = SyntheticConfig(clips_per_class=2, width=32, height=32, num_frames=3)
    generate = synthetic.generate_synthetic_dataset
    monkeypatch.setattr(
        synthetic, "generate_synthetic_dataset", lambda path, **options: generate(path, small)
    )
    output = tmp_path / "records"
    assert prepare("synthetic", tmp_path / "new", output, "--pose=none", "--flow=none") == 0
    assert read_dataset_info(output).split("train")["num_clips"] == len(CLASSES)
    assert (tmp_path / "new" / "splits" / "classInd.txt").exists()


def test_folder_with_bad_videos_is_prepared_and_they_are_counted(synthetic, tmp_path, capsys):
    videos = tmp_path / "videos"
    for name in CLASSES[:2]:
        shutil.copytree(synthetic / "videos" / name, videos / name)
    (videos / CLASSES[0] / "text.avi").write_text("no video\n" * 50)
    output = tmp_path / "records"
    assert prepare("folder", videos, output, "--pose=none", "--flow=none", "--fps=0") == 0
    assert "1 clips failed" in capsys.readouterr().out
    (line,) = (output / "failures.jsonl").read_text().splitlines()
    failure = json.loads(line)
    assert failure["path"].endswith("text.avi") and "text" in failure["cause"]
    info = read_dataset_info(output)
    assert sum(split["num_clips"] for split in info.splits.values()) == 6
    assert info.fps is None and (info.num_failed, info.pose, info.flow) == (1, None, None)


def test_classes_are_printed_before_and_causes_of_failures_after_the_work(
    synthetic, tmp_path, capsys
):
    videos = tmp_path / "videos"
    for name in CLASSES[:2]:
        shutil.copytree(synthetic / "videos" / name, videos / name)
    for number in range(3):
        (videos / CLASSES[1] / f"text{number}.avi").write_text("no video\n" * 50)
    (videos / CLASSES[0] / "empty.mts").touch()
    (videos / CLASSES[0] / "film.rmvb").touch()
    assert prepare("folder", videos, tmp_path / "out", "--pose=none", "--flow=none") == 0
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()[:2]
    assert first.startswith(f"folder: 2 classes ({CLASSES[0]}, {CLASSES[1]}), 10 videos: ")
    assert second == "left out (not videos): 1 .rmvb"
    lines = captured.out.splitlines()
    start = next(number for number, line in enumerate(lines) if "4 clips failed" in line)
    assert lines[start + 1].startswith(f"    3, such as {CLASSES[1]}/text0: ")
    assert lines[start + 2].startswith(f"    1, {CLASSES[0]}/empty: ")


def test_a_single_class_is_refused_before_any_work(synthetic, tmp_path, capsys):
    videos = tmp_path / "videos"
    shutil.copytree(synthetic / "videos" / CLASSES[0], videos / CLASSES[0])
    assert prepare("folder", videos, tmp_path / "out", "--pose=none", "--flow=none") == 2
    assert "What are the classes?" in one_line(capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_no_usable_clip_is_a_failure(tmp_path, capsys):
    videos = tmp_path / "videos"
    for name in ("a", "b"):
        (videos / name).mkdir(parents=True)
        for number in range(2):
            (videos / name / f"{name}{number}.mp4").write_text("no video\n" * 50)
    assert prepare("folder", videos, tmp_path / "out", "--pose=none", "--flow=none") == 1
    assert "None of the 4 clips" in one_line(capsys.readouterr().err)
    assert len((tmp_path / "out" / "failures.jsonl").read_text().splitlines()) == 4


def test_bad_input_prints_one_error_line_before_anything_is_made(
    synthetic, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))  # without pose weights
    empty = tmp_path / "empty"
    empty.mkdir()
    lists = tmp_path / "lists"
    shutil.copytree(synthetic / "splits", lists)
    with open(lists / "trainlist01.txt", "a") as file:
        file.write(f"{CLASSES[0]}/v_{CLASSES[0]}_g77_c01.mp4 1\n")
    output, none = tmp_path / "out", ("--pose=none", "--flow=none")
    for dataset, videos, flags, message in (
        ("folder", tmp_path / "absent", none, "absent"),
        ("folder", empty, none, "empty"),
        ("ucf101", synthetic / "videos", (*none, f"--lists={lists}"), "g77"),
        ("ucf", synthetic, none, "dataset must be one of"),
        ("synthetic", synthetic, ("--pose=posenet",), "--pose_weights"),
        ("synthetic", synthetic, (*none, "--short_side=0"), "short_side"),
        ("synthetic", synthetic, (*none, "--workers=-1"), "workers"),
        ("synthetic", synthetic, (*none, "extra"), "positional"),
    ):
        assert prepare(dataset, videos, output, *flags) == 2, message
        assert message in one_line(capsys.readouterr().err)
        assert not output.exists()
    assert run("--dataset=folder", f"--videos={synthetic}") == 2
    assert "--output is required" in one_line(capsys.readouterr().err)


@pytest.mark.data
def test_real_clips_with_posenet_and_tvl1(real_data, tmp_path, capsys):
    videos, lists = copy_two_clips(real_data, tmp_path)
    weights = real_data / "weights" / "posenet_mobilenet_v1_075"
    flags = (f"--lists={lists}", f"--pose_weights={weights}", "--max_seconds=0.4")
    assert prepare("ucf101", videos, tmp_path / "out", *flags, "--short_side=64") == 0
    info = read_dataset_info(tmp_path / "out")
    assert (info.pose, info.flow, info.num_truncated) == ("posenet", "tvl1", 2)
    assert {name: split["num_frames"] for name, split in info.splits.items()} == {
        "train": 10,
        "test": 10,
    }
    clip = read_clip(tmp_path / "out", "Lunges/v_Lunges_g08_c01")
    assert clip.frames.shape == (10, 64, 85, 3)
    assert info.split("train")["pose_quality"]["Lunges"]["keypoints"] > 0.5
    # Someone lunges: parts of the picture move by pixels, most of it rests.
    speed = np.hypot(clip.flow[..., 0], clip.flow[..., 1])
    assert speed.max() > 0.5 and np.median(speed) < 0.5
