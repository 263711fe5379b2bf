"""A page of pictures and text, laid out by inches from its upper left corner."""

from __future__ import annotations

import pathlib
import warnings
from typing import Any

import numpy as np

from perfnet_tf.video.text import font_families

_DPI = 120


class Sheet:
    """A white page."""

    def __init__(self, width: float, height: float) -> None:
        """Makes an empty page of so many inches."""
        # Half a second that an .mp4 need not wait for. Not pyplot: no display is needed.
        from matplotlib.figure import Figure

        self._size = width, height
        self._figure = Figure(figsize=self._size, dpi=_DPI)

    def show(
        self,
        picture: np.ndarray,
        left: float,
        top: float,
        width: float,
        height: float,
        *,
        outlined: bool = True,
    ) -> None:
        """Fills a rectangle with a picture, uint8 RGB `[height, width, 3]`."""
        page_width, page_height = self._size
        place = (
            left / page_width,
            1 - (top + height) / page_height,
            width / page_width,
            height / page_height,
        )
        axes = self._figure.add_axes(place)
        axes.imshow(picture, aspect="auto", interpolation="antialiased")
        axes.set(xticks=[], yticks=[])
        # Flow at rest is white as the page: the line shows where its frame ends.
        for spine in axes.spines.values():
            spine.set(color="0.75", linewidth=0.5, visible=outlined)

    def write(self, text: str, left: float, top: float, **style: Any) -> None:
        """Writes text; by default its left end is at `left` and its middle at `top`."""
        x, y = left / self._size[0], 1 - top / self._size[1]
        # File names may have dollar signs, which are not formulas here.
        families = font_families(text)
        style = {"va": "center", "fontfamily": families, **style}
        if len(families) > 1:  # few fonts of other scripts are bold, of which matplotlib would warn
            style.pop("weight", None)
        self._figure.text(x, y, text, parse_math=False, **style)

    def save(self, path: pathlib.Path) -> None:
        """Writes the page as a picture."""
        with warnings.catch_warnings():
            # A letter that no font has appears as a box, as `draw_text` says.
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            self._figure.savefig(path, facecolor="white")
