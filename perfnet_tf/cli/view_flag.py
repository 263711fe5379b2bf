"""The flag --views of the commands that measure accuracy."""

from __future__ import annotations

import re

from absl import flags

from perfnet_tf.errors import InputError


def define_view_flag(values: flags.FlagValues, *, default: str | None = "1x1") -> None:
    """Defines --views, whose default may also be that of a preset."""
    flags.DEFINE_string(
        "views",
        default,
        "WINDOWSxCROPS of each video whose logits are averaged; 1x1 is the paper's central one, "
        "10x3 what SlowFast and others report."
        + ("" if default else " Without it, the preset's: 1x1 for paper, 5x1 for small and mini."),
        flag_values=values,
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
