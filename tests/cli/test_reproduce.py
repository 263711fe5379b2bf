"""`perfnet reproduce`, as typed."""

import pytest

from perfnet_tf.cli.main import main
from perfnet_tf.cli.reproduce import COMMAND, reproduce_config


@pytest.mark.parametrize(
    "flag", ["--gating=none", "--rgb=--gating=none", "--student=--backbone=i3d"]
)
def test_what_gives_the_network_is_named_once(flag, capsys, tmp_path):
    words = ["reproduce", "table4", f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    assert main([*words, "--preset=mini", "--start=runs/known", flag]) == 2
    assert "--start gives the network" in capsys.readouterr().err


def test_the_preset_of_kinetics_weights_gives_the_network(capsys, tmp_path):
    words = ["reproduce", "table4", f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    assert main([*words, "--preset=finetune_i3d", "--backbone=s3d_g"]) == 2
    assert (
        "gives the network, here i3d_kinetics400. Received: --backbone" in capsys.readouterr().err
    )


def test_a_row_of_terms_is_named_as_others(capsys, tmp_path):
    words = ["reproduce", "terms", f"--data={tmp_path}", f"--output={tmp_path / 'out'}"]
    assert main([*words, "--preset=mini", "--rows=student_kll"]) == 2
    assert "Did you mean 'student_kl'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ("pose=3", {"flow": 0.2, "pose": 3.0, "unified": 0.2}),
        ("2,pose=3", {"flow": 2.0, "pose": 3.0, "unified": 2.0}),
    ],
)
def test_teachers_that_no_weight_is_given_for_keep_that_of_the_preset(given, weights):
    COMMAND.parse(["table4", "--preset=mini", f"--teacher_weight={given}"])
    student = reproduce_config(COMMAND.flags, "table4").settings["s3d_g"]["student"]
    assert student.distill.teacher_weights == weights
