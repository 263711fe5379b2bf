"""The confusion matrix as a picture that can be read at 8 classes and at 101."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from perfnet_tf.video.text import font_families

#: Up to here every cell says its number of clips; beyond, they would not fit.
MAX_NUMBERED = 30
#: Up to here every class is named; beyond, every 50th is numbered.
MAX_NAMED = 150
_INCHES_PER_CLASS = 0.19
_DPI = 100


def save_confusion(
    path: str | os.PathLike[str], confusion: np.ndarray, classes: Sequence[str]
) -> None:
    """Draws the confusion matrix, coloured by the share of each right class's clips.

    Args:
        path: .png to write.
        confusion: int [classes, classes], right class by answer.
        classes: their names.
    """
    num_classes = len(classes)
    clips = np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    shares = confusion / clips  # a class without clips is a row of zeros
    named = num_classes <= MAX_NAMED
    side = min(max(4.5, _INCHES_PER_CLASS * num_classes), _INCHES_PER_CLASS * MAX_NAMED)
    longest = min(max(map(len, classes)), 40) if named else 4
    font = 9 if num_classes <= 40 else 7
    margin = 0.6 + longest * font * 0.0085
    # Not pyplot: it would keep the figure, and choose a backend for the whole process.
    figure = Figure(figsize=(side + margin + 0.8, side + margin), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, shrink=0.6, label="share of the class's clips")
    if named:
        names = [name if len(name) <= 40 else name[:39] + "…" for name in classes]
        ticks = np.arange(num_classes)
        style: dict[str, Any] = {"fontsize": font, "fontfamily": font_families("".join(names))}
        axes.set_xticks(ticks, names, rotation=90, parse_math=False, **style)
        axes.set_yticks(ticks, names, parse_math=False, **style)
    else:
        ticks = np.arange(0, num_classes, 50)
        axes.set_xticks(ticks, ticks)
        axes.set_yticks(ticks, ticks)
    if num_classes <= MAX_NUMBERED:
        for row, column in zip(*np.nonzero(confusion), strict=True):
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(
                column,
                row,
                str(confusion[row, column]),
                ha="center",
                va="center",
                color=color,
                fontsize=font,
            )
    axes.set_xlabel("answer")
    axes.set_ylabel("right class")
    figure.savefig(path)
