"""Writes one format's files of another runtime, and measures how far their logits are off.

    python -m perfnet_tf.saved_model.conversion_worker FOLDER NAME

A separate process: converters keep several copies of a network, and some end the process. FOLDER is
what `write_formats` prepared: a saved
`FrozenGraph`, the clips and `request.json`; NAME is one of `FORMATS`.
After each file `result.json` holds file -> `parity` or `error`.
"""

from __future__ import annotations

import json
import pathlib
import sys
import tempfile
import traceback
from typing import Any

import numpy as np

from perfnet_tf.errors import first_line
from perfnet_tf.recognizers.frozen_graph import FrozenGraph
from perfnet_tf.saved_model.conversion import Conversion, Format, clip_file
from perfnet_tf.saved_model.formats import FORMATS
from perfnet_tf.saved_model.golden import relative_difference


def main(workspace: pathlib.Path, name: str) -> None:
    """Does what the request in `workspace` asks of a format."""
    tempfile.tempdir = str(workspace)  # what converters leave there, if killed, goes with it
    request = json.loads((workspace / "request.json").read_text())
    shapes = tuple(tuple(shape) for shape in request["shapes"][name])
    results: dict[str, dict[str, Any]] = {}
    for entry in FORMATS[name]:
        try:
            results[entry.file] = {"parity": _write(entry, shapes, workspace, request)}
        except Exception as error:  # whatever it is, the parent process reports it
            traceback.print_exc()
            results[entry.file] = {"error": f"{type(error).__name__}: {first_line(error)}"}
        (workspace / "result.json").write_text(json.dumps(results))


def _write(
    entry: Format,
    shapes: tuple[tuple[int, ...], ...],
    workspace: pathlib.Path,
    request: dict[str, Any],
) -> float:
    path = pathlib.Path(request["folder"]) / entry.file
    network = FrozenGraph.load(workspace)
    entry.write(Conversion(network, path, shapes, request["options"]))
    del network
    call = entry.open(path)
    differences = []
    for shape in shapes:
        with np.load(workspace / clip_file(shape), allow_pickle=False) as clip:
            differences.append(relative_difference(call(clip["frames"]), clip["logits"]))
    return max(differences)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
