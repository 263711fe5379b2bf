import json

import browser
import numpy as np
import pytest
import tf_keras
from small_clips import write_video
from tiny_network import build_tiny

from perfnet_tf.cli.main import main
from perfnet_tf.cli.predict import bar
from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.models import precision
from perfnet_tf.recognizers import exported
from perfnet_tf.saved_model import export_saved_model

CLASSES = ("Clapping", "Jumping", "Running", "Waving")


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    monkeypatch.setattr(exported, "build_from_config", build_tiny)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`model`, a flow model, and `videos` with a.mp4, sub/b.mp4 and damaged.mp4."""
    folder = tmp_path_factory.mktemp("predict")
    tf_keras.utils.set_random_seed(0)
    for name, stream in (("model", "rgb"), ("flow_model", "flow")):
        config = ExperimentConfig(stream=stream, clip=ClipConfig(6, 24, 32, short_side=28))
        model = build_tiny(config.model, len(CLASSES), stream)
        dataset = {"name": "toy", "fps": 12.5, "short_side": 40}
        export_saved_model(model, folder / name, classes=CLASSES, config=config, dataset=dataset)
    write_video(folder / "videos" / "a.mp4", frames=40)
    write_video(folder / "videos" / "sub" / "b.mp4", frames=9, seed=1)
    return folder


def test_text_shows_the_likeliest_classes_with_bars(folder, capsys):
    video = folder / "videos" / "a.mp4"
    assert main(["predict", str(video), f"--model={folder / 'model'}", "--top=3"]) == 0
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == str(video)
    assert len(lines) == 3
    shares = [float(line.split("%")[0]) for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert {line.split()[-1] for line in lines} <= set(CLASSES)
    assert "█" in lines[0]


def test_a_flow_network_sees_the_flow_of_a_video(folder, capsys):
    arguments = [str(folder / "videos" / "a.mp4"), f"--model={folder / 'flow_model'}"]
    assert main(["predict", *arguments, "--json", "--top=4"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert {entry["label"] for entry in answer["top"]} == set(CLASSES)


def test_json_has_a_line_for_each_video_of_a_folder(folder, capsys):
    arguments = [str(folder / "videos"), f"--model={folder / 'model'}", "--json", "--top=9"]
    assert main(["predict", *arguments]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["video"].split("videos/")[1] for answer in answers] == ["a.mp4", "sub/b.mp4"]
    for answer in answers:
        assert {entry["label"] for entry in answer["top"]} == set(CLASSES)
        np.testing.assert_allclose(sum(e["probability"] for e in answer["top"]), 1, atol=1e-6)
        assert answer["incomplete"] is None


def test_a_good_folder_from_a_mac_is_a_success(folder, tmp_path, capsys):
    videos = tmp_path / "videos"
    (videos / "sub" / "frames.mp4").mkdir(parents=True)
    for name in ("._a.mp4", "sub/._b.mp4", "notes.txt", "a.mp4.part"):
        (videos / name).write_bytes(b"\0\5\x16\7")
    (videos / "a.mp4").symlink_to(folder / "videos" / "a.mp4")
    (videos / "linked").symlink_to(folder / "videos" / "sub")
    assert main(["predict", str(videos), f"--model={folder / 'model'}", "--json"]) == 0
    captured = capsys.readouterr()
    answers = [json.loads(line) for line in captured.out.splitlines()]
    assert [answer["video"].split("videos/")[1] for answer in answers] == ["a.mp4", "linked/b.mp4"]
    note = "note: left out (not videos): 2 hidden .mp4, 1 .part, 1 .txt"
    assert note in captured.err.splitlines()


def test_videos_whose_names_begin_with_a_dash(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("-abc.mp4", "--d.mp4"):
        (tmp_path / name).write_bytes((folder / "videos" / "a.mp4").read_bytes())
    model = f"--model={folder / 'model'}"
    for words in (["-abc.mp4", "--d.mp4", model], [model, "--", "-abc.mp4", "--d.mp4"]):
        assert main(["predict", "--json", *words]) == 0
        answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [answer["video"] for answer in answers] == ["-abc.mp4", "--d.mp4"]
    assert main(["predict", "--json", "--output=-out", model, "--", "-abc.mp4", "--d.mp4"]) == 0
    assert {path.name for path in (tmp_path / "-out").iterdir()} == {"-abc.mp4", "--d.mp4"}
    assert main(["predict", "--json", "--output", "-one.mp4", model, "-abc.mp4"]) == 0
    assert (tmp_path / "-one.mp4").stat().st_size > 1000


def test_bad_videos_are_reported_and_the_others_answered(folder, tmp_path, capsys):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(2000))
    videos = [str(damaged), str(folder / "videos" / "a.mp4"), str(tmp_path / "missing.mp4")]
    assert main(["predict", *videos, f"--model={folder / 'model'}", "--json"]) == 2
    captured = capsys.readouterr()
    (answer,) = captured.out.splitlines()
    assert json.loads(answer)["video"] == videos[1]
    errors = captured.err.splitlines()
    assert "damaged.mp4" in errors[0]
    assert "missing.mp4, which does not exist" in errors[1]
    assert errors[2] == "perfnet predict: 2 of 3 videos failed"


def test_a_part_of_a_long_video_is_said_to_be_one(folder, capsys):
    video = str(folder / "videos" / "a.mp4")
    assert main(["predict", video, f"--model={folder / 'model'}", "--max_seconds=0.5"]) == 0
    assert "(longer than 0.5 s: only that much was used)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model=nowhere", "a.mp4"], "No run and no SavedModel at nowhere"),
        (["--model=MODEL"], "at least one video"),
        (["--model=MODEL", "--top=0", "a.mp4"], "--top must be"),
        (["--model=MODEL", "--max_seconds=0", "a.mp4"], "max_seconds must be"),
        (["--model=MODEL", "--hop=1", "a.mp4"], "--hop without windows. Give --sliding"),
        (["--model=MODEL", "EMPTY"], "A folder must hold videos"),
    ],
)
def test_bad_input_prints_one_error_line(folder, tmp_path, capsys, arguments, message):
    names = {"MODEL": folder / "model", "EMPTY": tmp_path}
    for name, path in names.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    assert main(["predict", *arguments]) == 2
    captured = capsys.readouterr().err
    assert message in captured
    (error,) = [line for line in captured.splitlines() if not line.startswith("note: ")]
    assert error.startswith("perfnet predict: ")


@pytest.mark.parametrize(
    ("share", "cells"), [(0, ""), (1, "█" * 20), (0.5, "█" * 10), (0.03, "▋"), (0.999, "█" * 20)]
)
def test_bars_have_eighths_of_a_cell(share, cells):
    assert bar(share) == cells.ljust(20)


def test_sliding_prints_the_segments_in_order(folder, tmp_path, capsys):
    video = str(folder / "videos" / "a.mp4")
    output = tmp_path / "out.mp4"
    arguments = [video, f"--model={folder / 'model'}", "--top=2", f"--output={output}"]
    assert main(["predict", *arguments]) == 0
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == video
    assert any(" to 1.6 s" in line for line in lines)  # 40 frames at 25 a second
    assert f"written to {output}" in lines[-1]
    assert output.is_file()


def test_a_browser_plays_the_output(folder, tmp_path):
    arguments = [str(folder / "videos" / "a.mp4"), f"--model={folder / 'model'}"]
    assert main(["predict", *arguments, f"--output={tmp_path / 'out.mp4'}"]) == 0
    assert browser.play(tmp_path / "out.mp4", 0.5).duration == pytest.approx(40 / 25, abs=0.01)


def test_sliding_in_json_has_every_window(folder, tmp_path, capsys):
    outputs = f"--output={tmp_path / 'all'}"
    arguments = [str(folder / "videos"), f"--model={folder / 'model'}", "--json", "--hop=0.4"]
    assert main(["predict", *arguments, outputs]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    # A window is 6 frames at 12.5 a second; the last ends with the video.
    places = [(w["start"], w["end"]) for w in first["windows"]]
    assert places == [(0, 0.48), (0.4, 0.88), (0.8, 1.28), (1.12, 1.6)]
    assert len(second["windows"]) == 1
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--camera=0", "a.mp4"], "takes no videos"),
        (["--show", "a.mp4"], "--show is for --camera"),
        (["--sliding", "--hop=0", "VIDEO"], "`hop` must be greater than 0"),
        (["--output=x.mp4", "VIDEO", "VIDEO"], "must be a folder for 2 videos"),
        (["--output=x.avi", "VIDEO"], "FILE.mp4"),
        (["--output=new", "VIDEO", "VIDEO"], "different names"),
        (["--camera=9876"], "No camera answers"),
    ],
)
def test_bad_sliding_is_refused(folder, capsys, arguments, message):
    names = {"VIDEO": str(folder / "videos" / "a.mp4")}
    arguments = [names.get(argument, argument) for argument in arguments]
    assert main(["predict", f"--model={folder / 'model'}", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_bfloat16_and_frozen_models_answer_alike(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "bfloat16_slowdown", lambda: 5.0)
    config = ExperimentConfig(clip=ClipConfig(6, 24, 32, short_side=28))
    tf_keras.utils.set_random_seed(0)
    model = build_tiny(config.model, len(CLASSES))
    frozen = export_saved_model(
        model, tmp_path / "frozen", classes=CLASSES, config=config, inference_only=True
    )
    video = str(folder / "videos" / "a.mp4")
    probabilities, notes, slow = [], [], []
    for flags in (
        [f"--model={folder / 'model'}"],
        [f"--model={folder / 'model'}", "--precision=bfloat16"],
        [f"--model={frozen}"],
    ):
        assert main(["predict", video, *flags, "--json", "--clip=6x24x32"]) == 0
        captured = capsys.readouterr()
        top = json.loads(captured.out)["top"]
        probabilities.append({entry["label"]: entry["probability"] for entry in top})
        notes.append("runs code" in captured.err)
        slow.append("5 times as long in bfloat16" in captured.err)
    for other in probabilities[1:]:
        for name, value in probabilities[0].items():
            assert other[name] == pytest.approx(value, abs=0.01)
    assert notes == [False, False, True]
    assert slow == [False, True, False]
    assert main(["predict", video, f"--model={frozen}", "--precision=bfloat16"]) == 2
    assert "frozen in float32" in capsys.readouterr().err
