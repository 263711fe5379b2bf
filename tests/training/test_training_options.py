"""Options of the optimisation that are off by default, all at once and through the commands."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.cli.main import main
from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    TrainConfig,
)
from perfnet_tf.errors import InputError
from perfnet_tf.models.activation_memory import measure_blocks, most_kept
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.recognizers.recognizer import Teacher
from perfnet_tf.recognizers.run_directory import create_run, read_run
from perfnet_tf.training.trainer import train

ALL = {
    "accumulate": 2,
    "optimizer": "adamw",
    "label_smoothing": 0.1,
    "clip_norm": 1.5,
    "mixup": 0.4,
}
#: 15 clips in batches of 4: epochs end after 4 and 8 steps.
CONFIG = ExperimentConfig(
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.5, weight_decay=0.05),
    train=TrainConfig(epochs=2, batch_size=4, learning_rate=0.02, checkpoint_every_steps=3, **ALL),
)


def flow_teacher():
    matrix = tf.reshape(tf.range(6.0), [2, 3])
    return Teacher(lambda flow: tf.reduce_mean(flow, axis=[1, 2, 3]) @ matrix, "flow")


def weights(run):
    return [variable.numpy() for variable in run.model.variables]


def assert_equal(run, other):
    for one, value in zip(weights(run), weights(other), strict=True):
        np.testing.assert_array_equal(one, value)


@pytest.mark.parametrize("step", [5, 7])
def test_a_killed_run_arrives_at_the_same_bits(data, tmp_path, killed_and_resumed, step):
    """With a teacher, clips without labels and dropout, a step and some after a checkpoint."""
    config = CONFIG.replace(distill=DistillConfig(unlabelled_batch=2))
    options = {"teachers": {"flow": flow_teacher()}, "unlabelled": data}
    whole = train(config, data, tmp_path / "whole", **options, progress=False)
    resumed = killed_and_resumed(step, config, data, tmp_path / "killed", **options)
    assert_equal(whole, resumed)


def test_steps_of_one_call_are_those_of_several(data, tmp_path):
    runs = [
        train(
            CONFIG.replace(train=dataclasses.replace(CONFIG.train, steps_per_execution=steps)),
            data,
            tmp_path / str(steps),
            progress=False,
        )
        for steps in (1, 4)
    ]
    for one, value in zip(*map(weights, runs), strict=True):
        np.testing.assert_allclose(one, value, atol=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("accumulate", "train.accumulate was 2, is 1"),
        ("optimizer", "train.optimizer was 'adamw', is 'sgd'"),
        ("label_smoothing", "train.label_smoothing was 0.1, is 0.0"),
        ("clip_norm", "train.clip_norm was 1.5, is None"),
        ("mixup", "train.mixup was 0.4, is 0.0"),
    ],
)
def test_a_run_is_not_resumed_under_another_option(data, tmp_path, option, message):
    create_run(tmp_path / "run", CONFIG, ("class0", "class1", "class2"))
    usual = getattr(TrainConfig(), option)
    changed = CONFIG.replace(train=dataclasses.replace(CONFIG.train, **{option: usual}))
    with pytest.raises(InputError, match=f"holds another run: {message}"):
        train(changed, data, tmp_path / "run", progress=False)


def test_what_the_options_need_is_checked_before_anything_is_written(data, tmp_path):
    def refused(message, config, **options):
        with pytest.raises(InputError, match=message):
            train(config, data, tmp_path / "run", progress=False, **options)

    teachers = {"flow": flow_teacher()}
    refused(
        "`mixup`=0.4, and teachers that are computed once",
        CONFIG.replace(distill=DistillConfig(teacher_windows=1)),
        teachers=teachers,
    )
    refused(
        "`unlabelled_batch`=3 for 1 replicas with `accumulate`=2",
        CONFIG.replace(distill=DistillConfig(unlabelled_batch=3)),
        teachers=teachers,
        unlabelled=data,
    )
    one = dataclasses.replace(CONFIG.train, batch_size=1, accumulate=1)
    refused("`mixup`=0.4 with one clip for each replica", CONFIG.replace(train=one))
    assert not (tmp_path / "run").exists()


def test_the_commands_train_distil_and_fine_tune_with_all_of_them(data, tmp_path, refuses):
    options = [f"--{name}={value}" for name, value in ALL.items()]
    options += [f"--data={data}", "--epochs=1", "--batch=4", "--learning_rate=0.01", "--noprogress"]
    network = ["--backbone=tiny", "--clip=6x24x32"]
    teacher, student, tuned = (tmp_path / name for name in ("teacher", "student", "tuned"))
    assert main(["train", "--stream=pose", f"--output={teacher}", *network, *options]) == 0
    distill = ["distill", f"--teachers=pose={teacher}", f"--output={student}", *network, *options]
    assert main(distill) == 0
    assert main(["finetune", f"--from={student}", f"--output={tuned}", *options]) == 0
    for run in (teacher, student, tuned):
        stated = json.loads((run / "config.json").read_text())["train"]
        assert {name: stated[name] for name in ALL} == ALL
        assert read_run(run)[2]["status"] == "finished"
    refuses([*distill, "--mixup=0.5"], "holds another run: train.mixup was 0.4, is 0.5")
    refuses([*distill, "--accumulate=3"], "--accumulate=3, --batch=4")


def test_a_budget_for_activations_that_cannot_be_kept_is_refused(data, tmp_path):
    config = CONFIG.replace(train=dataclasses.replace(CONFIG.train, activation_gib=1e-6))
    with pytest.raises(InputError, match="`activation_gib`.* of 2 clips of 6x24x32"):
        train(config, data, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_activations_are_computed_again_within_a_budget_and_weights_stay_the_same(
    data, tmp_path, capfd
):
    base = ExperimentConfig(
        clip=CONFIG.clip,
        model=ModelConfig("s3d_g", width_multiplier=0.25, dropout_rate=0.5),
        train=TrainConfig(epochs=1, batch_size=4, learning_rate=0.02, accumulate=2),
    )
    probe = build_from_config(base.model, 3, base.stream)
    blocks = measure_blocks(probe, (2, 6, 24, 32, 3), for_xla=False)
    budget = 0.8 * most_kept(blocks) / 2**30
    within = base.replace(train=dataclasses.replace(base.train, activation_gib=budget))
    plain = train(base, data, tmp_path / "plain", progress=False)
    capfd.readouterr()
    run = train(within, data, tmp_path / "within")
    said = capfd.readouterr().err
    assert "2 of 12 blocks are computed again: Conv2d_2c_3x3, Mixed_3c" in said, said
    for one, other in zip(weights(plain), weights(run), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    # A resumed run may have another budget: it is free, as `rematerialize` is.
    assert json.loads(run.config.to_json())["train"]["activation_gib"] == budget
