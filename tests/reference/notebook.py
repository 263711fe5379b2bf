"""Runs a notebook's cells in this process, as Jupyter would, without Jupyter."""

from __future__ import annotations

import json
import pathlib
import re
import shlex
import string
import subprocess
from typing import Any

from perfnet_tf.cli.main import main


def read_cells(path: pathlib.Path, kind: str) -> list[str]:
    """Sources of a notebook's `code` or `markdown` cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


def run_notebook(path: pathlib.Path) -> dict[str, Any]:
    """Executes every code cell in turn, in the current folder; returns the notebook's names.

    `!perfnet ...` is run in this process, which need not import TensorFlow again; other `!` lines
    in a shell. `%pip` does nothing: the environment is there.
    """
    names: dict[str, Any] = {"__name__": "__main__"}

    def shell(line: str) -> None:
        line = string.Formatter().vformat(line, (), names)
        program, *arguments = shlex.split(line)
        if program == "perfnet":
            status = main(arguments)
        else:
            status = subprocess.run(line, shell=True, check=False).returncode
        assert status == 0, f"{path.name}: !{line} exits with {status}"

    names["_shell"] = shell
    for number, source in enumerate(read_cells(path, "code")):
        exec(compile(to_python(source), f"{path.name}[{number}]", "exec"), names)
    return names


def to_python(source: str) -> str:
    """A cell without IPython's own syntax."""
    source = re.sub(r"^(\s*)%pip .*$", r"\1pass", source, flags=re.MULTILINE)
    return re.sub(r"^(\s*)!(.+)$", lambda m: f"{m[1]}_shell({m[2]!r})", source, flags=re.MULTILINE)
