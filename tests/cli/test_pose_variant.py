import dataclasses

import pytest

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import apply_flags, define_experiment_flags
from perfnet_tf.config import ExperimentConfig, PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.pose.variants import POSE_VARIANTS

BASE = ExperimentConfig(pose_render=PoseRenderConfig(min_score=0.4, thickness=0.1))


def rendering(*arguments):
    made = []
    command = Command(
        "train", "", lambda flags, _: made.append(apply_flags(flags, BASE).pose_render)
    )
    define_experiment_flags(command, network=True)
    command(list(arguments))
    return made[0]


def test_a_variant_of_table_2_keeps_what_the_table_is_silent_on():
    assert rendering() == BASE.pose_render
    found = rendering("--pose_variant=black_dot_13_ratio")
    assert found == dataclasses.replace(
        POSE_VARIANTS["black_dot_13_ratio"], min_score=0.4, thickness=0.1
    )


def test_single_flags_change_a_variant():
    found = rendering("--pose_variant=rgb_bar_6", "--pose_background=black", "--pose_min_score=0.3")
    assert found == PoseRenderConfig(
        "bar", 6, ratio_aware=False, background="black", min_score=0.3, thickness=0.1
    )


def test_an_unknown_variant_is_refused():
    with pytest.raises(
        InputError, match="--pose_variant must be one of rgb_bar_6_uniform, .*Did you mean"
    ):
        rendering("--pose_variant=rgb_bar_7")
