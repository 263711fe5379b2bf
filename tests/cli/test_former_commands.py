"""Command lines of earlier versions still mean what they meant, with a note on each former name."""

import shlex

import pytest

from perfnet_tf.cli.main import load_command

#: (command line, the note on standard error).
FORMER = [
    ("evaluate --runs=runs/a,runs/b --data=data --output=out", "--runs is now --models"),
    ("export --run=runs/student --output=student --tflite --onnx", "--run is now --model"),
    ("explain clip.avi --run=runs/student --output=look.png", "--run is now --model"),
    ("explain --data=data --clip=Up/a --run=runs/a --output=x.png", "--clip is now --clip_id"),
    ("inspect --data=data --clip=Up/a --output=look.png", "--clip is now --clip_id"),
    ("prepare --dataset=ucf101 --videos=v --output=o --split=2", "--split is now --official_split"),
    ("prepare --dataset=ucf101 --videos=v --output=o --splits=lists", "--splits is now --lists"),
    ("finetune --data=data --from=runs/a --splits=all --output=o", "is now --official_splits"),
    ("tpu-check --tpu=v3 --batch_per_core=8 --teachers=2", "--tpu is now --chip"),
]
#: Without a former name.
UNCHANGED = [
    "prepare --dataset=folder --videos=videos --output=data --pose=posenet --pose_weights=posenet",
    "train --data=data --stream=flow --preset=small --output=runs/flow",
    "distill --data=data --teachers=flow=runs/flow,pose=runs/pose --from=runs/pose --output=out",
    "predict clip.avi --model=student --sliding --output=labelled.mp4",
    "predict --camera=0 --model=student",
    "import --source=slim_s3dg --weights=model.ckpt --output=runs/d3d",
    "reproduce table4 --data=data --output=tables --preset=mini --seeds=0,1,2",
    "pose-weights --model=posenet_mobilenet",
    "inspect --data=data --verify",
]


def parse(line):
    name, *arguments = shlex.split(line)
    command = load_command(name)
    command.parse(arguments)
    assert not [flag for flag in command.required if command.flags[flag].value in (None, [])]
    return command


@pytest.mark.parametrize(("line", "note"), FORMER)
def test_a_former_command_line_is_accepted_with_a_note(line, note, capsys):
    parse(line)
    assert note in capsys.readouterr().err


@pytest.mark.parametrize("line", UNCHANGED)
def test_a_command_line_that_has_not_changed_has_no_note(line, capsys):
    parse(line)
    assert not capsys.readouterr().err


def test_a_former_name_of_a_drawing_is_the_same_drawing():
    from perfnet_tf.pose.variants import POSE_VARIANTS, current_variant_name

    former = {"rgb_bar_6", "rgb_bar_13", "rgb_bar_13_ratio", "rgb_dot_13_ratio"}
    assert {current_variant_name(name) for name in former} <= POSE_VARIANTS.keys()
    assert not POSE_VARIANTS[current_variant_name("rgb_bar_13")].ratio_aware
