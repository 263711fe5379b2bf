"""The flag --views of the commands that measure accuracy."""

from __future__ import annotations

import re
from collections.abc import Mapping

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.errors import InputError


def define_view_flag(
    command: Command, presets: Mapping[str, tuple[int, int]] | None = None
) -> None:
    """Defines --views; where `presets` say what each takes, without it that of --preset."""
    stated = (f"{windows}x{crops} for {name}" for name, (windows, crops) in (presets or {}).items())
    command.string(
        "views",
        None if presets else "1x1",
        "WINDOWSxCROPS of each video whose logits are averaged; 1x1 is the paper's central one, "
        "10x3 what SlowFast and others report."
        + (f" Without it, {', '.join(stated)}." if presets else ""),
    )


def windows_and_crops(values: flags.FlagValues) -> tuple[int, int]:
    """What --views says.

    Raises:
        InputError: it says something else.
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", values.views)
    if found is None:
        raise InputError(
            "--views is WINDOWSxCROPS, such as 10x3: so many windows along each video, each with "
            f"so many crops. Received: {values.views!r}."
        )
    return int(found[1]), int(found[2])
