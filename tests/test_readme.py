"""The README's commands are ones that the program takes."""

import pathlib
import re
import shlex

import pytest

from perfnet_tf.cli.main import COMMANDS, load_command

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
SHELL = "\n".join(re.findall(r"```bash\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
#: Commands in shell blocks, and those in the running text that have flags.
COMMAND_LINES = [line for line in SHELL.splitlines() if line.startswith("perfnet ")]
COMMAND_LINES += re.findall(r"`(perfnet [^`]+ --\w+=[^`]*)`", README)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_that_the_readme_shows_has_its_flags(line):
    name, *arguments = shlex.split(line)[1:]
    assert name in COMMANDS
    command = load_command(name)
    command.parse(arguments)
    assert not [flag for flag in command.required if command.flags[flag].value in (None, [])]


def test_the_readme_shows_the_whole_job():
    shown = {shlex.split(line)[1] for line in COMMAND_LINES}
    assert shown >= {"prepare", "inspect", "train", "distill", "evaluate", "export", "predict"}


def test_the_readme_python_runs(tmp_path, monkeypatch):
    import tensorflow as tf

    from perfnet_tf.config import ClipConfig, ExperimentConfig, ModelConfig
    from perfnet_tf.models.factory import build_from_config
    from perfnet_tf.saved_model import export_saved_model

    config = ExperimentConfig(
        clip=ClipConfig(4, 32, 32), model=ModelConfig("s3d_g", width_multiplier=0.0625)
    )
    model = build_from_config(config.model, 3, config.stream)
    model(tf.zeros([1, 4, 32, 32, 3]))
    export_saved_model(model, tmp_path / "student", classes=("a", "b", "c"), config=config)
    monkeypatch.chdir(tmp_path)
    assert len(PYTHON) == 2
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), {})
