"""Every notebook runs from top to bottom, in its SMOKE setting."""

import ast
import base64
import json
import pathlib
import re

import pytest
from notebook import read_cells, run_notebook, to_python
from tiny_network import TINY

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.downloads.cache import cache_folder, install
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.run_directory import save_run
from perfnet_tf.video.decode import read_video

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
NAMES = [
    "01_quickstart",
    "02_prepare_your_videos",
    "03_finetune_on_ucf101",
    "04_train_perfnet_on_tpu",
]


def test_all_notebooks_are_tested():
    assert [path.stem for path in NOTEBOOKS] == NAMES


@pytest.fixture
def beside_the_checkout(tmp_path, monkeypatch):
    """Runs in a folder like `colab/`, so that what a notebook writes stays out of the checkout."""
    (tmp_path / "colab").mkdir()
    for name in ("setup.cfg", "export"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path / "colab")
    monkeypatch.syspath_prepend(str(tmp_path))  # put back what a notebook adds
    monkeypatch.setenv("SMOKE", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")


@pytest.fixture
def pretrained(tmp_path, monkeypatch):
    """A tiny network under the name `i3d_kinetics400`: no test fetches 50 MB."""
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    config = ExperimentConfig(clip=ClipConfig(8, 32, 36), model=TINY)
    classes = [f"action {index}" for index in range(400)]
    model = build_from_config(config.model, len(classes), config.stream)
    folder = cache_folder("pretrained") / "i3d_kinetics400"
    partial = folder.with_name("partial")
    save_run(partial, config, classes, model)
    install(partial, folder)


def run(name):
    return run_notebook(ROOT / "colab" / f"{name}.ipynb")


def test_quickstart_runs(beside_the_checkout, pretrained, capsys):
    names = run("01_quickstart")
    assert names["model"](names["noise"]).shape == (2, 400)
    video = names["WORK"] / "answers.mp4"
    assert len(read_video(video).frames) == 20
    page = names["answers"]._repr_html_()
    assert base64.b64encode(video.read_bytes()).decode() in page and 'type="video/mp4"' in page
    assert (names["WORK"] / "explanation.png").stat().st_size > 20_000
    assert "written to quickstart/answers.mp4" in capsys.readouterr().out


def test_prepare_your_videos_runs(beside_the_checkout):
    names = run("02_prepare_your_videos")
    assert names["info"].splits["train"]["num_clips"] == 10
    assert names["info"].num_failed == 0
    assert names["value"].shape[0] == 2


@pytest.mark.slow
def test_finetune_on_ucf101_runs(beside_the_checkout, pretrained):
    names = run("03_finetune_on_ucf101")
    assert names["num_classes"] == 10
    metrics = json.loads((names["WORK"] / "results" / "metrics.json").read_text())
    assert metrics["num_clips"] == 10
    assert names["model"].history.history["loss"]


@pytest.mark.slow
def test_train_perfnet_on_tpu_runs(beside_the_checkout):
    names = run("04_train_perfnet_on_tpu")
    assert not names["ON_TPU"]
    assert (names["WORK"] / "saved_model" / "saved_model.pb").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_a_story_in_short_cells_without_outputs(path):
    first = read_cells(path, "markdown")[0]
    assert "**Hardware:**" in first and "**Time:**" in first
    content = json.loads(path.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    code = read_cells(path, "code")
    assert any("SMOKE" in source for source in code)
    assert any("%pip install" in source and "constraints.txt" in source for source in code)
    for source in code:
        assert len(source.splitlines()) <= 20, source
        tree = ast.parse(to_python(source))
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pip_is_given_a_folder_and_not_a_name(path, tmp_path, monkeypatch):
    # `pip install perfnet` would look for a package of that name, beside the folder or not.
    (tmp_path / "content" / "perfnet").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "content")
    (cell,) = [source for source in read_cells(path, "code") if "CHECKOUT = " in source]
    names = {}
    exec(to_python(cell), names)
    assert names["CHECKOUT"] == tmp_path / "content" / "perfnet"


def test_constraints_bound_what_the_package_needs():
    lines = (ROOT / "colab" / "constraints.txt").read_text().splitlines()
    bounded = {re.split("[<=>]", line)[0] for line in lines if re.search("[<=>]=?[0-9]", line)}
    wanted = (ROOT / "setup.cfg").read_text().split("install_requires =")[1].split("[options")[0]
    names = {
        re.split("[<=>]", line.strip())[0]
        for line in wanted.splitlines()
        if line.strip() and not line.strip().startswith("#")
    }
    assert names <= bounded
