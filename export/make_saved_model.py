"""Exports a run and verifies the result in a fresh process.

    python export/make_saved_model.py --run=runs/student --metrics=results/metrics.json \
        --output=student
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

from absl import app, flags

_RUN = flags.DEFINE_string("run", None, "Folder of a finished run.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder to make.", required=True)
_METRICS = flags.DEFINE_string("metrics", None, "metrics.json of perfnet evaluate for this run.")
_LICENSE = flags.DEFINE_string("license", "Apache-2.0", "SPDX name of the weights' licence.")


def main(argv: Sequence[str]) -> None:
    """Exports, then runs verify_saved_model.py; exits with its status."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    from perfnet_tf import InputError, export_saved_model, load_run
    from perfnet_tf.saved_model.info import read_metrics

    try:
        metrics = read_metrics(_METRICS.value) if _METRICS.value else None
        path = export_saved_model(
            load_run(_RUN.value), _OUTPUT.value, metrics=metrics, license=_LICENSE.value
        )
    except InputError as error:
        sys.exit(f"make_saved_model.py: {error}")
    print(f"Exported {path}")
    verify = pathlib.Path(__file__).with_name("verify_saved_model.py")
    sys.exit(subprocess.run([sys.executable, str(verify), f"--model={path}"]).returncode)


if __name__ == "__main__":
    app.run(main)
