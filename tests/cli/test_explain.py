import browser
import cv2
import pytest
from small_clips import write_video
from tiny_network import TINY

from perfnet_tf.cli.explain import COMMAND
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.run_directory import load_run, save_run
from perfnet_tf.saved_model import export_saved_model

CLASSES = ("Clapping", "Jumping", "Waving")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run, its SavedModel, and a.mp4."""
    folder = tmp_path_factory.mktemp("explain")
    config = ExperimentConfig(clip=ClipConfig(6, 32, 40, short_side=36), model=TINY)
    model = build_from_config(config.model, len(CLASSES))
    dataset = {"name": "toy", "num_clips": 9, "fps": 12.5, "short_side": 40}
    save_run(folder / "run", config, CLASSES, model, dataset=dataset)
    export_saved_model(load_run(folder / "run"), folder / "model")
    write_video(folder / "a.mp4", frames=40)
    return folder


def test_a_run_and_its_saved_model_are_explained_alike(folder, tmp_path, capsys):
    runs = f"--model={folder / 'run'},{folder / 'model'}"
    arguments = [str(folder / "a.mp4"), runs, "--endpoint=unit", "--label=Waving"]
    assert main(["explain", *arguments, f"--output={tmp_path / 'a.mp4'}"]) == 0
    line, written = capsys.readouterr().out.splitlines()
    first, second = line.removeprefix("a.mp4: ").split("; ")
    assert first.endswith("%")
    assert first.startswith("RGB, run: ")
    assert first.replace("RGB, run", "RGB, model") == second
    assert written == f"{tmp_path / 'a.mp4'}: unit"
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    _, frame = capture.read()
    capture.release()
    left, right = frame[30:, : frame.shape[1] // 2], frame[30:, frame.shape[1] // 2 :]
    assert abs(left.astype(int) - right).mean() < 6  # of the encoder


def test_a_browser_plays_the_output(folder, tmp_path):
    arguments = [str(folder / "a.mp4"), f"--model={folder / 'model'}", "--endpoint=unit"]
    assert main(["explain", *arguments, f"--output={tmp_path / 'out.mp4'}"]) == 0
    assert browser.play(tmp_path / "out.mp4", 0.2).duration > 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4", "--output=a.gif"], "FILE.png or FILE.mp4"),
        (["--output=a.png"], "Name videos"),
        (["a.mp4", "--data=d", "--output=a.png"], "Name videos"),
        (["--data=d", "--output=a.png"], "needs --clip_id"),
        (["a.mp4", "--clip_id=b", "--output=a.png"], "clips of --data"),
        (["a.mp4", "--model=nowhere", "--output=a.png"], "No run and no SavedModel"),
        (["a.mp4", "--endpoint=res5", "--output=a.png"], "endpoint must be one of"),
        (["a.mp4", "--label=Sleeping", "--output=a.png"], "label must be a class"),
        (["missing.mp4", "--output=a.png"], "does not exist"),
    ],
)
def test_bad_input_prints_one_error_line(folder, refuses, arguments, message):
    arguments = [f"--model={folder / 'run'}", *arguments]
    refuses(["explain", *arguments], message)


def test_clip_is_a_size_and_in_its_former_meaning_an_id(capsys):
    size = ["--model=r", "--output=a.png", "--clip=4x32x32"]
    COMMAND.parse(size)
    assert (COMMAND.flags.clip, COMMAND.flags.clip_id) == ("4x32x32", [])
    assert not capsys.readouterr().err
    COMMAND.parse([*size[:2], "--data=d", "--clip=v_a,v_b", "--clip_size=4x32x32"])
    assert (COMMAND.flags.clip, COMMAND.flags.clip_id) == ("4x32x32", ["v_a", "v_b"])
    assert capsys.readouterr().err == (
        "note: --clip is now --clip_id.\nnote: --clip_size is now --clip.\n"
    )
