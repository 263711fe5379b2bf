"""`perfnet transfer`, as typed."""

import pytest

from perfnet_tf.cli.main import main


def test_the_network_and_the_data_are_named(capsys):
    assert main(["transfer", "--output=out"]) == 2
    assert "--from" in capsys.readouterr().err


def test_an_unknown_backbone_is_one_line(capsys):
    assert main(["transfer", "--from=i3d", "--data=d", "--output=o", "--backbone=r3d50_g"]) == 2
    assert "s3d_g" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--clips=0", "--places=-1", "--batch=0"])
def test_numbers_are_positive(flag, capsys, tmp_path):
    words = ["transfer", "--from=i3d_kinetics400", f"--data={tmp_path}", f"--output={tmp_path}/o"]
    assert main([*words, flag]) == 2
    assert "Received" in capsys.readouterr().err
