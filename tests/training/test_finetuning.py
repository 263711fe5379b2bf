"""`finetune`: the network of a run, other data and settings, no teachers."""

import numpy as np
import pytest

import perfnet_tf
from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    PoseRenderConfig,
    TrainConfig,
)
from perfnet_tf.errors import InputError
from perfnet_tf.presets import FINETUNING, PRESETS
from perfnet_tf.recognizers.run_directory import update_record
from perfnet_tf.training.finetuning import continued_config, finetuning_config

INITIAL = ExperimentConfig(
    stream="pose",
    clip=ClipConfig(6, 24, 32, short_side=28),
    model=ModelConfig("tiny", dropout_rate=0.1),
    pose_render=PoseRenderConfig(num_colors=6),
    distill=DistillConfig("unified"),
    train=TrainConfig(epochs=1, batch_size=4),
)


def test_the_network_stays_and_the_teachers_go():
    paper = PRESETS["paper_s3d_g_ucf101"]
    expected = INITIAL.replace(distill=None, train=FINETUNING)
    assert finetuning_config(INITIAL) == expected
    assert (FINETUNING.epochs, FINETUNING.batch_size, FINETUNING.learning_rate) == (30, 32, 0.005)
    by_preset = finetuning_config(INITIAL, "paper_s3d_g_ucf101")
    assert by_preset == expected.replace(
        clip=paper.clip, eval_clip=paper.eval_clip, model=ModelConfig("tiny")
    )
    assert finetuning_config(INITIAL, paper) == by_preset
    with pytest.raises(InputError, match="'paper_s3d_g_ucf101'"):
        finetuning_config(INITIAL, "paper_s3d_g_ucf")


def test_dropout_and_decay_are_those_of_the_preset():
    for config in (finetuning_config, continued_config):
        arguments = (INITIAL, "rgb") if config is continued_config else (INITIAL,)
        model = config(*arguments, config="finetune_i3d").model
        assert model == ModelConfig("tiny", dropout_rate=0.5, weight_decay=0.0)
        assert config(*arguments).model == INITIAL.model


def test_moving_averages_follow_as_fast_as_the_preset_says():
    slow = INITIAL.replace(model=ModelConfig("s3d_g", options={"gating": "cell"}))
    for config in (finetuning_config(slow, "small"), continued_config(slow, "flow", "small")):
        assert config.model.options == {"gating": "cell", "batch_norm_momentum": 0.9}
    kept = finetuning_config(slow, "paper_s3d_g_ucf101").model.options
    assert kept == {"gating": "cell"}
    # The network `tiny` has no such option.
    assert finetuning_config(INITIAL, "small").model.options == {}


def test_a_run_is_fine_tuned_from_python(data, tmp_path):
    first = perfnet_tf.train(INITIAL.replace(stream="rgb"), data, tmp_path / "a", progress=False)
    update_record(first.path, pretrained={"publisher": "a lab", "license": "MIT"})
    still = INITIAL.replace(train=TrainConfig(epochs=1, batch_size=4, learning_rate=1e-30))
    run = perfnet_tf.finetune(first.path, data, tmp_path / "b", config=still, progress=False)
    assert (run.config.stream, run.config.distill) == ("rgb", None)
    assert run.record["initial"] == str(first.path)
    published = {"publisher": "a lab", "license": "MIT", "trained_further": True}
    assert run.record["pretrained"] == published
    for ours, theirs in zip(
        run.model.trainable_variables, first.model.trainable_variables, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
