import subprocess
import sys

import pytest
from absl import flags

from perfnet_tf.cli import main as cli_main
from perfnet_tf.cli.command import Command
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


def test_unknown_command_suggests_the_near_one(capsys):
    assert cli_main.main(["trian", "--data=x"]) == 2
    captured = capsys.readouterr().err
    assert "Did you mean 'train'" in captured
    assert captured.count("\n") == 1


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


@pytest.fixture
def command():
    seen = {}

    def echo(values, positional):
        """Echoes."""
        seen.update(size=values.size, name=values.name, positional=positional)

    command = Command("echo", "--name=NAME", echo, positional="FILE")
    flags.DEFINE_integer("size", 3, "A size.", flag_values=command.flags)
    flags.DEFINE_string("name", None, "A name.", flag_values=command.flags)
    command.require("name")
    command.seen = seen
    return command


def test_command_parses_flags_and_files(command):
    assert command(["a.mp4", "--name=x", "--size=5", "b.mp4"]) == 0
    assert command.seen == {"size": 5, "name": "x", "positional": ["a.mp4", "b.mp4"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--name is required"),
        (["--name=x", "--size=big"], "size"),
        (["--name=x", "--sise=3"], "sise"),
    ],
)
def test_command_refuses_bad_flags_in_one_error(command, arguments, message):
    with pytest.raises(InputError, match=message):
        command(arguments)


def test_command_help_names_flags_and_defaults(command):
    text = command.help()
    assert "--name (required): A name." in text
    assert "--size: A size. (default: 3)" in text


def test_a_second_call_starts_from_the_defaults(command):
    command(["--name=x", "--size=5"])
    command(["--name=y"])
    assert command.seen == {"size": 3, "name": "y", "positional": []}
    with pytest.raises(InputError, match="--name is required"):
        command([])
