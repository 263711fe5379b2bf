"""Writes one format's files of another runtime, and measures how far their logits are off.

    python -m perfnet_tf.saved_model.conversion_worker FOLDER NAME

A separate process: converters keep several copies of a network, and some end the process. FOLDER is
what `write_formats` prepared: a saved
`FrozenGraph`, `clip.npz` and `request.json`; NAME is one of `FORMATS`.
After each file `result.json` holds file -> `parity` or `error`.
"""

from __future__ import annotations

import json
import pathlib
import sys
import traceback
from typing import Any

import numpy as np

from perfnet_tf.errors import first_line
from perfnet_tf.recognizers.frozen_graph import FrozenGraph
from perfnet_tf.saved_model.conversion import Conversion, Format
from perfnet_tf.saved_model.formats import FORMATS
from perfnet_tf.saved_model.golden import relative_difference


def main(workspace: pathlib.Path, name: str) -> None:
    """Does what the request in `workspace` asks of a format."""
    request = json.loads((workspace / "request.json").read_text())
    results: dict[str, dict[str, Any]] = {}
    for entry in FORMATS[name]:
        try:
            results[entry.file] = {"parity": _write(entry, workspace, request)}
        except Exception as error:  # whatever it is, the parent process reports it
            traceback.print_exc()
            results[entry.file] = {"error": f"{type(error).__name__}: {first_line(error)}"}
        (workspace / "result.json").write_text(json.dumps(results))


def _write(entry: Format, workspace: pathlib.Path, request: dict[str, Any]) -> float:
    path = pathlib.Path(request["folder"]) / entry.file
    network = FrozenGraph.load(workspace)
    entry.write(Conversion(network, path, tuple(request["shape"]), request["options"]))
    del network
    with np.load(workspace / "clip.npz") as clip:
        return relative_difference(entry.open(path)(clip["frames"]), clip["logits"])


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
