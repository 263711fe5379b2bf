import subprocess
import sys

import pytest

from perfnet_tf.cli import main as cli_main
from perfnet_tf.errors import FailureError, InputError


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_package_and_help_do_not_import_tensorflow():
    result = run_python(
        "import sys, perfnet_tf\n"
        "from perfnet_tf.cli.main import COMMANDS, main\n"
        "assert main(['--help']) == 0\n"
        "for name in COMMANDS:\n"
        "    assert main([name, '--help']) == 0\n"
        "heavy = {'tensorflow', 'tf_keras', 'apache_beam', 'matplotlib', 'cv2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    assert result.returncode == 0, result.stderr
    for name in cli_main.COMMANDS:
        assert f"usage: perfnet {name}" in result.stdout


def test_every_public_name_can_be_imported():
    result = run_python(
        "import perfnet_tf\nfor name in perfnet_tf.__all__:\n    getattr(perfnet_tf, name)\n"
    )
    assert result.returncode == 0, result.stderr


def test_unknown_command_suggests_the_near_one(refuses):
    refuses(["trian", "--data=x"], "Did you mean 'train'")


def test_no_command_prints_the_usage_and_fails(capsys):
    assert cli_main.main([]) == 2
    assert "usage: perfnet COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(("error", "status"), [(InputError, 2), (FailureError, 1)])
def test_each_expected_error_is_one_line_and_a_status(monkeypatch, capsys, error, status):
    def fail(arguments):
        raise error("a message\nover two lines")

    monkeypatch.setattr(cli_main, "load_command", lambda name: fail)
    assert cli_main.main(["train"]) == status
    assert capsys.readouterr().err == "perfnet train: a message over two lines\n"


def test_an_opencv_that_cannot_be_loaded_is_one_line_with_its_remedy(tmp_path):
    """As in a container without libGL: Python finds the module, and the system refuses it."""
    (tmp_path / "cv2.abi3.so").write_bytes(b"no library")
    result = run_python(
        f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "from perfnet_tf.cli.main import main\n"
        f"sys.exit(main(['explain', '{tmp_path}/a.mp4', '--model=none', '--output=a.png']))\n"
    )
    assert result.returncode == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith("perfnet explain: OpenCV cannot be loaded")
    assert "pip install --no-deps opencv-python-headless==" in line and "libgl1" in line
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("command", "value"), [("predict", "'1'"), ("train", "None")])
def test_weights_are_taken_for_constants_only_where_nothing_is_trained(command, value):
    result = run_python(
        "import os, sys\n"
        "from perfnet_tf.cli import main as cli_main\n"
        "os.environ.pop('TF_ONEDNN_ASSUME_FROZEN_WEIGHTS', None)\n"
        "variable = 'TF_ONEDNN_ASSUME_FROZEN_WEIGHTS'\n"
        "cli_main.main = lambda argv: print(repr(os.environ.get(variable))) or 0\n"
        f"sys.argv = ['perfnet', {command!r}]\n"
        "cli_main.run()\n"
    )
    assert result.stdout.strip() == value
