"""Writes this package's network, as the other contenders have it, in other runtimes' formats.

    python -m perfnet_tf.benchmark.runtime_files '{"formats": ["onnx"], "folder": "...", ...}'

The specification is that of `tensorflow_contender` for a folded network, `formats` and `folder`.
Integers are calibrated on the clips that contenders are timed with. A process of its own, so that
TensorFlow's memory is free while the contenders run.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np

from perfnet_tf.benchmark import protocol
from perfnet_tf.benchmark.tensorflow_contender import build_own

#: Next to the files: file -> why it could not be written, as JSON.
FAILURES_FILE = "failures.json"


def main(spec: dict[str, Any]) -> None:
    """Writes the files into `files`, and file -> reason of those that failed next to it."""
    from perfnet_tf.saved_model.conversions import write_formats
    from perfnet_tf.saved_model.int8_tflite import CALIBRATION

    folder = pathlib.Path(spec["folder"])
    files = folder / "files"
    files.mkdir()
    clips = folder / "calibration.npy"
    np.save(clips, protocol.example_clip((8, *spec["shape"][1:])))
    shape = (*spec["shape"], 3)
    options = {CALIBRATION: str(clips)}
    sizes = dict.fromkeys(spec["formats"], [shape])
    found = write_formats(build_own(spec), files, sizes, options)
    (folder / FAILURES_FILE).write_text(json.dumps(found.failures))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
