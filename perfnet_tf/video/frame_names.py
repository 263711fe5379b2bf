"""Which pictures of a folder are the frames of a video: `img_00001.jpg`, `000000.png`.

denseflow, mmaction2 and FFmpeg (`img_%05d.jpg`) number frames so; pictures of optical flow
(`flow_x_00001.jpg`, `x_00001.jpg`) next to them are none.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable

from perfnet_tf.errors import InputError

_PICTURE = re.compile(r"(.*?)_?(\d+)\.(?:jpe?g|png|bmp)", re.IGNORECASE)
#: Pictures of optical flow, which denseflow writes next to the frames.
_FLOW = re.compile(r"(?:flow_?)?[xyuv]", re.IGNORECASE)
#: The usual prefix where there are several (denseflow, mmaction2).
_USUAL = "img"


def is_frame_name(name: str) -> bool:
    """Whether a file may be a frame: a numbered picture that is not named as optical flow."""
    match = _PICTURE.fullmatch(name)
    return match is not None and not _FLOW.fullmatch(match[1])


def number_frames(folder: pathlib.Path, names: Iterable[str]) -> dict[int, pathlib.Path]:
    """Number -> picture, in rising order.

    Args:
        folder: the folder.
        names: of the files in it.

    Raises:
        InputError: no numbered pictures, or several series of them.
    """
    series: dict[str, dict[int, pathlib.Path]] = {}
    for name in names:
        match = _PICTURE.fullmatch(name)
        if match is None or _FLOW.fullmatch(match[1]):
            continue
        numbered = series.setdefault(match[1].lower(), {})
        if int(match[2]) in numbered:
            raise InputError(
                f"Each frame is one picture. Received: {folder} with "
                f"{numbered[int(match[2])].name} and {name}."
            )
        numbered[int(match[2])] = folder / name
    if len(series) > 1 and _USUAL in series:
        series = {_USUAL: series[_USUAL]}
    if len(series) != 1:
        held = f"pictures called {' and '.join(sorted(series)[:4])}" if series else "none"
        raise InputError(
            f"A folder of frames holds one series of numbered pictures. Received: {folder} with "
            f"{held}."
        )
    (numbered,) = series.values()
    return dict(sorted(numbered.items()))
