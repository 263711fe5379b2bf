"""docs/extending.md, executed: each file is written, each command run, on tiny clips."""

import os
import pathlib
import re
import shlex
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf
from small_clips import CLASSES, write_video
from tiny_network import TINY

import perfnet_tf
from perfnet_tf import presets
from perfnet_tf.backbones import BACKBONES
from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig
from perfnet_tf.datasets.catalog import DATASETS
from perfnet_tf.pose.estimators import POSE_ESTIMATORS
from perfnet_tf.registry import PLUGINS_VARIABLE
from perfnet_tf.streams import SOURCES, STREAMS

PAGE = (pathlib.Path(__file__).parents[1] / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (Add [^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"^( *)```(python|bash)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
#: The page's settings, but for the time that they take.
QUICK = {
    "prepare": ["--short_side=40", "--workers=1"],
    "train": ["--clip=4x32x32", "--width_multiplier=0.0625", "--epochs=1", "--batch=2"],
    "distill": ["--clip=4x32x32", "--width_multiplier=0.0625", "--epochs=1", "--batch=2"],
    "evaluate": [],
    "export": [],
    "predict": [],
}


@pytest.fixture(autouse=True)
def forget_plugins(monkeypatch):
    """What a section registers is gone after it."""
    registries = (BACKBONES, DATASETS, POSE_ESTIMATORS, SOURCES, STREAMS)
    before = [set(registry) for registry in registries]
    modules = set(sys.modules)
    monkeypatch.setenv(PLUGINS_VARIABLE, "")
    yield
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            registry.unregister(name)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(
            os.fspath(pathlib.Path.cwd())
        ):
            del sys.modules[name]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the page's reader is: a folder with `videos`."""
    for label, name in enumerate(CLASSES):
        for number in range(4):
            video = tmp_path / "videos" / name / f"clip{number}.mp4"
            write_video(video, frames=8, seed=2 * number + label)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(section):
    """(language, code) of a section's blocks, in order."""
    return [(language, textwrap.dedent(code)) for _, language, code in BLOCK.findall(section)]


def run(line):
    name, *arguments = shlex.split(line)[1:]
    quick = list(QUICK[name])
    if name in ("train", "distill") and "--backbone" not in line:
        quick.append("--backbone=tiny")
    assert main([name, *arguments, *quick]) == 0, line


def execute(title):
    for language, code in blocks(SECTIONS[title]):
        if language == "bash":
            for line in code.splitlines():
                run(line)
        else:
            name = re.match(r"# (\w+\.py)\n", code)[1]
            pathlib.Path(name).write_text(code)


def prepare(*flags):
    assert main(["prepare", "--dataset=folder", "--videos=videos", "--output=data", *flags]) == 0


def test_the_page_has_a_section_for_each_thing_that_can_be_added():
    assert list(SECTIONS) == [
        "Add a stream",
        "Add a backbone",
        "Add a pose estimator",
        "Add a dataset",
        "Add a teacher",
    ]


def test_a_stream(folder, capsys):
    execute("Add a stream")
    assert perfnet_tf.read_dataset_info("data").sources == ("edges",)
    assert perfnet_tf.load_run("runs/edges").model.stream == "edges"
    assert "clip0.mp4" in capsys.readouterr().out


def test_a_backbone(folder, capsys):
    prepare("--pose=none", "--flow=none", *QUICK["prepare"])
    execute("Add a backbone")
    assert perfnet_tf.load_run("runs/small").model.channels == 16
    assert perfnet_tf.build_model("large_net", num_classes=2).channels == 64
    assert "clip0.mp4" in capsys.readouterr().out


def test_a_pose_estimator(folder):
    execute("Add a pose estimator")
    info = perfnet_tf.read_dataset_info("data")
    assert info.pose == "centre" and info.split("train")["num_clips"] > 0


def test_a_dataset(folder):
    for name in CLASSES:
        for number in range(2):
            write_video(folder / "flat_videos" / f"{name}_{number}.mp4", frames=6, seed=number)
    execute("Add a dataset")
    info = perfnet_tf.read_dataset_info("data")
    assert info.name == "flat" and info.classes == CLASSES
    assert info.split("train")["num_clips"] == info.split("test")["num_clips"] == 2


def test_a_teacher(folder, monkeypatch):
    prepare("--pose=none", "--flow=dis", *QUICK["prepare"])
    (language, code), (_, commands) = blocks(SECTIONS["Add a teacher"])
    mini = presets.PRESETS["mini"]
    quick = mini.replace(
        clip=ClipConfig(4, 32, 32),
        eval_clip=None,
        model=TINY,
        train=perfnet_tf.TrainConfig(epochs=1, batch_size=2),
    )
    monkeypatch.setitem(presets.PRESETS, "mini", quick)
    assert language == "python"
    exec(compile(code, "extending.md", "exec"), {})
    assert perfnet_tf.load_run("runs/student").config.distill is not None

    run("perfnet train --data=data --stream=flow --preset=mini --output=runs/flow")
    module = tf.Module()
    module.predict = tf.function(
        lambda clips: tf.reduce_mean(clips, axis=[1, 2, 3]),
        input_signature=[tf.TensorSpec([None, None, None, None, 2])],
    )
    tf.saved_model.save(module, "some_saved_model", {"serving_default": module.predict})
    pathlib.Path("labels.txt").write_text("\n".join(CLASSES) + "\n")
    first, second = commands.splitlines()
    run(first.replace("--output=runs/student", "--output=runs/student1"))
    run(second)
    weights = perfnet_tf.load_run("runs/student2").model.get_weights()
    assert all(np.isfinite(value).all() for value in weights)
