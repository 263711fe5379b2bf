"""The flags that say which part of each prepared video a network sees."""

from __future__ import annotations

import re
from collections.abc import Mapping

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError


def define_clip_flags(command: Command, *, default: str = "its own evaluation clip") -> None:
    """Defines --clip, --frame_stride and --short_side; `default` says what is taken without."""
    command.string(
        "clip",
        None,
        f"FRAMESxHEIGHTxWIDTH that the network sees; without it, {default}.",
    )
    command.integer(
        "frame_stride",
        None,
        "With --clip: take every n-th stored frame; without it, as often as the clip that is taken "
        "without --clip.",
    )
    command.integer(
        "short_side", None, "With --clip: pixels of the frames' shorter side before the crop."
    )


def clip_to_see(values: flags.FlagValues, own: ClipConfig | None = None) -> ClipConfig | None:
    """What --clip and its likes say; None without --clip.

    Args:
        values: of the flags.
        own: the clip that is taken without --clip, whose stride stays; None for one that is not
            known, of every frame.

    Raises:
        InputError: no clip, or one of the others without --clip.
    """
    given = {name: values[name].value for name in ("frame_stride", "short_side")}
    changes = {name: value for name, value in given.items() if value is not None}
    if values.clip is not None:
        return parse_clip(values.clip, own, **changes)
    if changes:
        raise InputError("--frame_stride and --short_side belong to --clip. Give it, too.")
    return None


def parse_clip(text: str, own: ClipConfig | None, **changes: int) -> ClipConfig:
    """The clip that --clip names, at the stride of another.

    Args:
        text: FRAMESxHEIGHTxWIDTH.
        own: whose stride stays; None for one that is not known, of every frame.
        **changes: other attributes of the clip, the stride included. Its short side is not that of
            `own`, which was chosen for another crop.

    Raises:
        InputError: `text` is no clip, or a value breaks a rule.
    """
    stride = own.frame_stride if own else 1
    return ClipConfig.parse(text, **{"frame_stride": stride, **changes})


def define_view_flag(
    command: Command,
    presets: Mapping[str, tuple[int, int]] | None = None,
    *,
    purpose: str = "of each video whose logits are averaged",
) -> None:
    """Defines --views; where `presets` say what each takes, without it that of --preset."""
    stated = (f"{windows}x{crops} for {name}" for name, (windows, crops) in (presets or {}).items())
    command.string(
        "views",
        None if presets else "1x1",
        f"WINDOWSxCROPS {purpose}; 1x1 is the paper's central one, 10x3 what SlowFast and others "
        "report." + (f" Without it, {', '.join(stated)}." if presets else ""),
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
