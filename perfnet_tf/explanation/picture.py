"""Explanations as a picture or a video: what each network receives, and its heat map over it."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.explanation.explainer import ClipExplanation, StreamExplanation
from perfnet_tf.inspection.sheet import Sheet
from perfnet_tf.label_kinds import NAME_SEPARATOR
from perfnet_tf.opencv import cv2
from perfnet_tf.video.sampling import spread_indices
from perfnet_tf.video.text import draw_text, fit_text, measure_text
from perfnet_tf.video.writing import VideoFile, check_picture_or_video_output

#: Share of a pixel's colour that the strongest evidence takes.
_OPACITY = 0.65
_RIGHT, _WRONG, _UNKNOWN = "#1a7f37", "#c0392b", "0.25"
# Inches: a frame's width, the space between frames and between clips, a clip's title, the names of
# the networks on the left, a line of text above the frames, the legend at the bottom.
_TILE, _GAP, _SPACE, _TITLE, _MARGIN, _LINE, _LEGEND = 1.7, 0.03, 0.3, 0.3, 0.75, 0.22, 0.3
_LEGEND_WIDTH = 7.5
_CENTRED: dict[str, Any] = {"ha": "center", "fontsize": 7}
_SHORTEST_SIDE = 192  # of a video's tile, pixels
_BAND = 26  # pixels of text, above and under the tiles of a video
_LETTERS, _SMALLEST_LETTERS = 15, 8  # pixels


def overlay_heat(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lays a heat map over a picture: the stronger, the less of the picture shows through.

    Args:
        picture: uint8 RGB `[height, width, 3]`.
        heat: float32 `[any height, any width]` in [0, 1].

    Returns:
        uint8 RGB of the picture's shape; where the heat is 0 it is the picture.
    """
    size = picture.shape[1::-1]
    heat = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    levels = np.round(heat * 255).astype(np.uint8)
    colors = cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    share = _OPACITY * np.sqrt(heat)[..., None]
    return np.asarray(np.round(picture * (1 - share) + colors * share).astype(np.uint8))


def write_explanation(
    clips: Sequence[ClipExplanation], output: str | os.PathLike[str], *, num_frames: int = 6
) -> None:
    """Writes explanations.

    Args:
        clips: what to show, at least one, all of the same networks.
        output: a `.png`: `num_frames` frames of each clip, with two rows for each network; or, of
            one frame only, PERF-Net's Figure 5: the networks side by side, three clips abreast. An
            `.mp4`: every frame of the first clip, then of the next, the networks side by side.
        num_frames: see above.

    Raises:
        InputError: another extension, no clip or frame, or a file that cannot be written.
    """
    path = pathlib.Path(output)
    check_picture_or_video_output(path)
    if not clips or num_frames < 1:
        raise InputError(
            "There must be a clip and a frame to show. "
            f"Received: {len(clips)} clips, {num_frames} frames."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            _write_picture(clips, path, num_frames)
        else:
            _write_video(clips, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}.") from error


def _write_picture(clips: Sequence[ClipExplanation], path: pathlib.Path, num_frames: int) -> None:
    blocks = [_rows(clip, num_frames) for clip in clips]
    abreast = min(3, len(clips)) if num_frames == 1 else 1
    num_rows, num_columns = len(blocks[0]), len(blocks[0][0])
    margin = _MARGIN if num_frames > 1 else 0.05
    height = _TILE * max(row[0].shape[0] / row[0].shape[1] for block in blocks for row in block)
    block_width = margin + num_columns * (_TILE + _GAP) + _SPACE
    block_height = _TITLE + _LINE + num_rows * (height + _GAP) + _SPACE / 2
    blocks_height = -(-len(clips) // abreast) * block_height
    sheet = Sheet(max(abreast * block_width, _LEGEND_WIDTH), blocks_height + _LEGEND)
    for number, (clip, block) in enumerate(zip(clips, blocks, strict=True)):
        left = number % abreast * block_width
        top = number // abreast * block_height
        title = clip.name if clip.label is None else f"{clip.name}  |  {clip.label}"
        if num_frames == 1:
            title += f"  |  {clip.seconds[spread_indices(len(clip.seconds), 1)[0]]:.2f} s"
        sheet.write(title, left + 0.05, top + _TITLE / 2, fontsize=8, weight="bold")
        lefts = [left + margin + column * (_TILE + _GAP) for column in range(num_columns)]
        top += _TITLE
        if num_frames > 1:
            chosen = spread_indices(len(clip.seconds), num_frames)
            names, colors = [f"{clip.seconds[index]:.2f} s" for index in chosen], ["0.35"]
        else:
            names = [f"{stream.title}: {_answer(stream)}" for stream in clip.streams]
            colors = [_color(stream, clip) for stream in clip.streams]
        for left, name, color in zip(lefts, names, itertools.cycle(colors)):
            sheet.write(name, left + _TILE / 2, top + _LINE / 2, color=color, **_CENTRED)
        top += _LINE
        for row, tiles in enumerate(block):
            if num_frames > 1:
                _write_row_name(sheet, clip, row, lefts[0] - _MARGIN / 2, top + height / 2)
            for left, tile in zip(lefts, tiles, strict=True):
                sheet.show(tile, left, top, _TILE, height)
            top += height + _GAP
    _write_legend(sheet, clips, blocks_height)
    sheet.save(path)


def _write_legend(sheet: Sheet, clips: Sequence[ClipExplanation], top: float) -> None:
    """What the colours mean and where the maps come from."""
    scale = overlay_heat(np.full((8, 128, 3), 160, np.uint8), np.linspace(0, 1, 128)[None])
    sheet.show(scale, 0.9, top + 0.08, 1.2, 0.14)
    sheet.write("no evidence", 0.05, top + 0.15, fontsize=7)
    places = dict.fromkeys(f"{stream.endpoint} of {stream.network}" for stream in clips[0].streams)
    text = f"strongest evidence of the clip for the class named (Grad-CAM at {', '.join(places)})"
    sheet.write(text, 2.15, top + 0.15, fontsize=7)


def _rows(clip: ClipExplanation, num_frames: int) -> list[list[np.ndarray]]:
    """Rows of tiles: inputs above heat maps, of each network or of all side by side."""
    chosen = spread_indices(len(clip.seconds), num_frames)
    inputs = [[stream.pictures[i] for i in chosen] for stream in clip.streams]
    maps = [[overlay_heat(s.backdrop[i], s.heat[i]) for i in chosen] for s in clip.streams]
    if num_frames == 1:
        return [[tiles[0] for tiles in inputs], [tiles[0] for tiles in maps]]
    return [row for pair in zip(inputs, maps, strict=True) for row in pair]


def _write_row_name(sheet: Sheet, clip: ClipExplanation, row: int, left: float, top: float) -> None:
    stream = clip.streams[row // 2]
    if row % 2:
        text, color = _answer(stream).replace(" ", "\n", 1), _color(stream, clip)
    else:
        text, color = stream.title, "black"
    sheet.write(text, left, top, rotation=90, color=color, **_CENTRED)


def _write_video(clips: Sequence[ClipExplanation], path: pathlib.Path) -> None:
    shapes = [s.pictures.shape[1:3] for clip in clips for s in clip.streams]
    scale = max(1.0, _SHORTEST_SIDE / min(min(shape) for shape in shapes))
    height, width = (round(max(sides) * scale) for sides in zip(*shapes, strict=True))
    num_streams = max(len(clip.streams) for clip in clips)
    size = (2 * height + 2 * _BAND, width * num_streams)
    steps = np.diff(clips[0].seconds)
    fps = 1 / float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    with VideoFile(path, fps) as file:
        for clip in clips:
            for index, seconds in enumerate(clip.seconds):
                canvas = np.zeros((*size, 3), np.uint8)
                label = "" if clip.label is None else f"  |  {clip.label}"
                _put_text(canvas, f"{seconds:.2f} s  {clip.name}{label}", 0, canvas.shape[1], 0)
                for column, stream in enumerate(clip.streams):
                    _put_stream(canvas, stream, index, column * width, width, height)
                file.write(canvas)


def _put_stream(
    canvas: np.ndarray, stream: StreamExplanation, index: int, left: int, width: int, height: int
) -> None:
    heated = overlay_heat(stream.backdrop[index], stream.heat[index])
    for top, picture in ((_BAND, stream.pictures[index]), (_BAND + height, heated)):
        tile = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        canvas[top : top + height, left : left + width] = tile[:, : canvas.shape[1] - left]
    text = f"{stream.title}: {_answer(stream)}"
    _put_text(canvas, text, left, width, _BAND + 2 * height)


def _put_text(canvas: np.ndarray, text: str, left: int, width: int, top: int) -> None:
    """One line in a band, shrunk to its width, or else cut at it."""
    size = _LETTERS
    while size > _SMALLEST_LETTERS and measure_text(text, size) > width - 12:
        size -= 1
    line = fit_text(text, size, width - 12)
    draw_text(canvas, line, (left + 6, top + 18), size)


def _answer(stream: StreamExplanation) -> str:
    text = f"{stream.explained} {stream.probability:.0%}"
    return text if stream.explained == stream.predicted else f"{text} (says {stream.predicted})"


def _color(stream: StreamExplanation, clip: ClipExplanation) -> str:
    right = () if clip.label is None else (clip.label, *clip.label.split(NAME_SEPARATOR))
    if not right:
        return _UNKNOWN
    return _RIGHT if stream.predicted in right else _WRONG
