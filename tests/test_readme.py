"""What README.md and docs/ show is what the program takes, and runs."""

import pathlib
import re
import shlex

import pytest
from small_clips import write_video

from perfnet_tf.cli.main import COMMANDS, load_command

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))]
PAGES.append((ROOT / "export" / "README.md").read_text())


def commands_of(page: str) -> list[str]:
    """Commands in shell blocks, and those in the running text that have flags."""
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).replace("\\\n", " ")
    lines = [line for line in shell.splitlines() if line.startswith("perfnet ")]
    return lines + re.findall(r"`(perfnet [^`]+ --\w+=[^`]*)`", page)


COMMAND_LINES = [line for page in PAGES for line in commands_of(page)]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_that_the_readme_shows_has_its_flags(line):
    name, *arguments = shlex.split(line, comments=True)[1:]
    assert name in COMMANDS
    command = load_command(name)
    command.parse(arguments)
    assert not [flag for flag in command.required if command.flags[flag].value in (None, [])]


def test_the_readme_shows_the_whole_job():
    shown = {shlex.split(line)[1] for line in commands_of(README)}
    assert shown >= {"prepare", "inspect", "train", "distill", "evaluate", "export", "predict"}


def test_the_readme_python_runs(tmp_path, monkeypatch):
    import tensorflow as tf
    from tiny_network import TINY

    from perfnet_tf.config import ClipConfig, ExperimentConfig
    from perfnet_tf.models.factory import build_from_config
    from perfnet_tf.saved_model import export_saved_model

    config = ExperimentConfig(clip=ClipConfig(4, 32, 32), model=TINY)
    model = build_from_config(config.model, 3, config.stream)
    model(tf.zeros([1, 4, 32, 32, 3]))
    export_saved_model(model, tmp_path / "student", classes=("a", "b", "c"), config=config)
    for clip in ("wave/a", "wave/b", "wave/c", "jump/a", "jump/b", "jump/c"):
        write_video(tmp_path / "videos" / f"{clip}.mp4", frames=8)
    monkeypatch.chdir(tmp_path)
    assert len(PYTHON) == 4
    for code in PYTHON:
        exec(compile(code, "README.md", "exec"), {})


def test_every_link_of_the_documents_leads_to_a_file_or_a_heading():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
                anchors = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings]
                assert anchor in anchors, f"{page.name}: {target}"
