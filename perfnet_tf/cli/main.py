"""`perfnet COMMAND ...`: finds the command, runs it, and turns errors into exit statuses."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfnet_tf.cli.command import Command

#: Command -> what it does. Each is the module `perfnet_tf.cli.COMMAND` with a `COMMAND` object,
#: but for those in `_MODULES`.
COMMANDS = {
    "demo": "run the whole job on generated videos, ending with a report",
    "prepare": "turn a folder of videos into records with RGB, pose and optical flow",
    "pose-weights": "fetch a pose network's weights",
    "pretrained": "list and fetch networks trained on Kinetics",
    "inspect": "look at prepared records: streams side by side, statistics",
    "convert": "write stored keypoints and flow for other programs: PYSKL, COCO, .flo, JPEG",
    "train": "train a network on one stream",
    "distill": "train an RGB-only student from flow and pose teachers",
    "finetune": "train a run, or an export that can be trained, further on other data",
    "fit-classifier": "fit a classifier of other classes to a network's features, in minutes",
    "transfer": "begin an S3D-G with what an I3D knows",
    "import": "turn published weights into a run",
    "evaluate": "measure accuracy: of one network, or of several fused by summed logits",
    "export": "write a run as a SavedModel",
    "predict": "classify videos, or what a camera films",
    "explain": "show where networks look: Grad-CAM over RGB, pose and flow",
    "reproduce": "make the paper's tables: train, measure, compare",
    "models": "list architectures with parameters and GFLOPs",
    "bench": "measure speed, memory and agreement here, next to other libraries'",
    "tpu-check": "learn whether a train step fits a TPU, without a TPU",
}
#: Command -> its module, where Python keeps the name to itself.
_MODULES = {"import": "import_weights"}


def usage() -> str:
    """The text of `perfnet --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "PERF-Net for TensorFlow: RGB-only action recognisers distilled from flow and pose.",
            "",
            "usage: perfnet COMMAND [--flag=value ...]",
            "",
            *lines,
            "",
            "perfnet COMMAND --help lists a command's flags; perfnet --version prints the version.",
        ]
    )


def load_command(name: str) -> Command:
    """The command that `COMMANDS` names."""
    module = _MODULES.get(name, name.replace("-", "_"))
    result: Command = importlib.import_module(f"perfnet_tf.cli.{module}").COMMAND
    return result


def main(argv: list[str]) -> int:
    """Runs one command line, without the program's name; returns the exit status.

    0: done. 1: a failure of the system. 2: bad input. Both print one line on standard error.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] == "--version":
        from perfnet_tf.version import __version__

        print(f"perfnet {__version__}")
        return 0
    from perfnet_tf.errors import FailureError, InputError, check_choice

    name, arguments = argv[0], argv[1:]
    try:
        check_choice("COMMAND", name, COMMANDS)
        return load_command(name)(arguments)
    except (InputError, FailureError) as error:
        print(f"perfnet {name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print(f"perfnet {name}: interrupted", file=sys.stderr)
        return 130


def run() -> None:
    """The console script."""
    # This process uses Keras 2 only: else TensorFlow imports Keras 3 as well, for two seconds.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # TensorFlow's C++ notices, such as that of a missing GPU, do not help users.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if sys.argv[1:2] == ["predict"]:
        # Nothing is trained here: oneDNN may keep the layout that it brings weights into.
        os.environ.setdefault("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # `perfnet ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    gc.freeze()  # else Python looks for garbage in all of TensorFlow as it ends, for a second
    sys.exit(status)
