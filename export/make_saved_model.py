"""Exports a run and verifies the result in a fresh process.

    python export/make_saved_model.py --model=runs/student --metrics=results/metrics.json \
        --output=student

The flags are those of `perfnet export`: --inference_only, --tflite and --onnx among them.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
from collections.abc import Sequence

from perfnet_tf.cli.export import COMMAND
from perfnet_tf.cli.main import main as perfnet


def main(arguments: Sequence[str]) -> int:
    """Exports, then runs verify_saved_model.py; returns the exit status."""
    if any(argument in ("--help", "-h") for argument in arguments):
        print(f"{__doc__}\n{COMMAND.help().partition(chr(10))[2].strip()}")
        return 0
    status = perfnet(["export", *arguments])
    if status:
        return status
    print(flush=True)
    verify = pathlib.Path(__file__).with_name("verify_saved_model.py")
    command = [sys.executable, str(verify), f"--model={COMMAND.flags.output}"]
    return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
