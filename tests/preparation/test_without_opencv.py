"""The commands that people serve with, where OpenCV cannot be loaded: in a slim container."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from small_clips import CLASSES, write_video

import perfnet_tf

_BROKEN = """
raise ImportError(
    "libGL.so.1: cannot open shared object file: No such file or directory", name="cv2"
)
"""

#: Prepares, exports and predicts in `sys.argv[1]`; with a second argument, OpenCV must not load.
_WORK = """
import contextlib, io, json, pathlib, sys

from perfnet_tf.cli.main import main

folder, broken = pathlib.Path(sys.argv[1]), len(sys.argv) > 2
output = folder / ("without" if broken else "with")
videos, records, model = folder / "videos", output / "records", output / "model"
answers = {}


def run(name, *arguments):
    printed, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        status = main([name, *map(str, arguments)])
    answer = status, printed.getvalue(), errors.getvalue()
    answers[arguments[0] if name == "prepare" else name] = answer


common = "--dataset=folder", f"--videos={videos}", "--short_side=32", "--pose=none"
run("prepare", "--flow=tvl1", f"--output={records}", "--workers=1", *common)
run("prepare", "--flow=dis", f"--output={output}/dis", "--workers=1", *common)

from tiny_network import build_tiny
from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
from perfnet_tf.saved_model import export_saved_model
import tf_keras

tf_keras.utils.set_random_seed(1)
config = ExperimentConfig(model=ModelConfig("tiny"), clip=ClipConfig(4, 24, 32, short_side=24))
network = build_tiny(config.model, 2)
dataset = {"name": "toy", "fps": 25.0, "short_side": 30}
export_saved_model(network, model, classes=("Down", "Up"), config=config, dataset=dataset)
(clip, *_) = sorted(videos.rglob("*.mp4"))
run("predict", clip, f"--model={model}", "--json")
assert not broken or "cv2" not in sys.modules
print(json.dumps(answers))
"""


def work(folder: pathlib.Path, *path: pathlib.Path):
    root = pathlib.Path(perfnet_tf.__file__).parents[1]
    places = [*path, root, root / "tests" / "reference"]
    result = subprocess.run(
        [sys.executable, "-c", _WORK, folder, *path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def digests(records: pathlib.Path) -> dict[str, str]:
    files = records.glob("*.tfrecord*")
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.slow
def test_prepare_export_and_predict_give_the_same_without_opencv(tmp_path):
    for name in CLASSES:
        for number in range(2):
            write_video(tmp_path / "videos" / name / f"{number}.mp4", frames=5, seed=number)
    slim = tmp_path / "slim" / "cv2"
    slim.mkdir(parents=True)
    (slim / "__init__.py").write_text(_BROKEN)
    expected, found = work(tmp_path), work(tmp_path, slim.parent)

    assert digests(tmp_path / "with" / "records")
    assert digests(tmp_path / "without" / "records") == digests(tmp_path / "with" / "records")
    assert found["--flow=tvl1"][0] == found["predict"][0] == 0, found
    assert found["predict"] == expected["predict"]
    # What needs OpenCV says so, with the remedy.
    assert expected["--flow=dis"][0] == 0, expected
    status, _, error = found["--flow=dis"]
    line = error.splitlines()[-1]
    assert status == 1 and "OpenCV cannot be loaded (libGL.so.1" in line, error
    assert "pip install --no-deps opencv-python-headless" in line
