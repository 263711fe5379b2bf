"""The note about mirrored clips of classes that say left or right."""

import dataclasses
from types import SimpleNamespace

import pytest
from small_clips import make_info

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import define_experiment_flags, note_mirrored_sides
from perfnet_tf.records.folder import write_dataset_info


@pytest.fixture
def noted(tmp_path, capsys):
    command = Command("train", "", lambda *_: 0)
    define_experiment_flags(command, network=True)

    def run(classes, *words, mirror=True):
        write_dataset_info(tmp_path, dataclasses.replace(make_info(), classes=classes))
        command.parse([f"--data={tmp_path}", *words])
        note_mirrored_sides(command.flags, mirror=mirror)
        return capsys.readouterr().err

    return SimpleNamespace(run=run)


def test_the_note_names_a_class_and_both_flags(noted):
    error = noted.run(("sit", "turn left"))
    assert "(turn left)" in error and "--nomirror" in error and error.count("\n") == 1


def test_no_note_where_the_user_decided_or_nothing_is_mirrored(noted):
    sided = ("sit", "turn left")
    assert noted.run(sided, "--mirror") == noted.run(sided, "--nomirror", mirror=False) == ""
    assert noted.run(sided, mirror=False) == noted.run(("sit", "upright")) == ""
