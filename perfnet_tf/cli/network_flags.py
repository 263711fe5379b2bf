"""The flags that say what a network does not say of itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.classes import read_class_names
from perfnet_tf.cli.command import Command, warn_runs_code
from perfnet_tf.errors import InputError
from perfnet_tf.streams import STREAMS

if TYPE_CHECKING:
    from perfnet_tf.recognizers.recognizer import Recognizer


def define_network_flags(command: Command) -> None:
    """Defines `--stream` and `--classes`."""
    command.string(
        "stream",
        None,
        f"For a SavedModel that does not say what it sees: {', '.join(STREAMS)}.",
    )
    command.string(
        "classes",
        None,
        "File with the names of the classes in the order of the logits, one per line or JSON; in "
        "place of those that the network says.",
    )


def default_network() -> str:
    """The pretrained network of a command that is given none; notes on standard error which."""
    from perfnet_tf.recognizers.pretrained import DEFAULT_NETWORK, describe_pretrained

    print(
        f"note: without --model this is {DEFAULT_NETWORK}: {describe_pretrained(DEFAULT_NETWORK)}.",
        file=sys.stderr,
        flush=True,
    )
    return DEFAULT_NETWORK


def check_one_network(arguments: flags.FlagValues, handles: Sequence[str]) -> None:
    """Raises `InputError` where several networks share flags that describe one."""
    if len(handles) > 1 and (arguments.stream or arguments.classes):
        raise InputError(
            "--stream and --classes describe one network. "
            f"Received: {len(handles)} networks. Evaluate them one by one."
        )


def load_named_network(
    arguments: flags.FlagValues,
    handle: str,
    *,
    folded: bool = False,
    precision: str | None = None,
) -> Recognizer:
    """The network at a handle, as `recognizers.load.load` loads it, with a note if that runs code.

    Raises:
        InputError: as `load` and `read_class_names`.
    """
    from perfnet_tf.recognizers.load import load, runs_code
    from perfnet_tf.recognizers.run_directory import is_run

    classes = None if arguments.classes is None else read_class_names(arguments.classes)
    if runs_code(handle) if folded else not is_run(handle):
        warn_runs_code(handle)
    return load(
        handle, stream=arguments.stream, classes=classes, folded=folded, precision=precision
    )
