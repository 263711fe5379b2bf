"""What a prepared dataset looks like: RGB, pose and flow of clips as a picture or a video."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import flow_legend
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.inspection.sheet import Sheet
from perfnet_tf.inspection.stored_clip import StoredClip
from perfnet_tf.pose.rendering import render_pose
from perfnet_tf.streams import BOXES, FLOW, KEYPOINTS, POSE, RGB, STREAM_TITLES, STREAMS
from perfnet_tf.video.sampling import spread_indices
from perfnet_tf.video.text import draw_text, fit_text, measure_text
from perfnet_tf.video.writing import VideoFile, check_picture_or_video_output

#: How people are drawn: once, or several times, each under a name.
Drawings = PoseRenderConfig | Mapping[str, PoseRenderConfig] | None
#: Frames decoded at a time for a video.
_CHUNK = 16
_DEFAULT = PoseRenderConfig()
_BAND = 28  # pixels of text above a video frame
_LETTERS = 11  # pixels; capital letters have 8
# Inches in a picture: a frame's width, the space between frames, a clip's title, the names of the
# streams on the left, the wheel of colours on the right.
_TILE, _GAP, _TITLE, _MARGIN, _LEGEND = 1.9, 0.03, 0.5, 0.5, 1.35


def write_inspection(
    clips: Sequence[StoredClip],
    output: str | os.PathLike[str],
    *,
    num_columns: int = 8,
    render: Drawings = None,
    streams: Sequence[str] | None = None,
) -> None:
    """Shows clips with every stream that their records hold, one under the other or side by side.

    Args:
        clips: what to show, at least one.
        output: a `.png`: `num_columns` frames spread over each clip; or an `.mp4`: all frames of
            the first clip, then of the next.
        num_columns: see above.
        render: how people are drawn; None takes the defaults. A mapping shows the pose stream once
            for each of its values, under its names.
        streams: which to show; None shows all that the records hold.

    Raises:
        InputError: another extension, no clip, a stream that the records lack, or a file that
            cannot be written.
    """
    path = pathlib.Path(output)
    check_picture_or_video_output(path)
    if not clips or num_columns < 1:
        raise InputError(
            "There must be a clip and a column to show. "
            f"Received: {len(clips)} clips, {num_columns} columns."
        )
    for clip in clips if streams is not None else ():
        lacking = [stream for stream in streams or () if stream not in clip.streams]
        if lacking or not streams:
            raise InputError(
                f"streams must be some of {', '.join(clip.streams)} for {clip.entry.clip_id}. "
                f"Received: {', '.join(streams or ()) or 'none'}."
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            _write_picture(clips, path, num_columns, render, streams)
        else:
            _write_video(clips, path, render, streams)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error}.") from error


def draw_streams(
    clip: StoredClip,
    indices: Sequence[int] | np.ndarray,
    max_speed: float,
    render: Drawings = None,
    streams: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Frames of a clip as pictures: stream -> uint8 RGB `[indices, height, width, 3]`.

    Where `render` is a mapping, its names take the place of `pose`.

    Args:
        clip: the clip.
        indices: which of its frames.
        max_speed: pixels per frame that have the full colour.
        render: how people are drawn; None takes the defaults.
        streams: which; None takes all that the records hold.
    """
    streams = clip.streams if streams is None else streams
    decoded = clip.decode(indices)
    pictures = {}
    for stream in clip.streams:
        if stream not in streams:
            continue
        if stream == POSE:
            people = decoded[KEYPOINTS], decoded[BOXES]
            for name, config in _named(render).items():
                pictures[name] = render_pose(decoded[RGB], *people, config).numpy()
        else:
            values = streams_of(decoded, (stream,), _DEFAULT)[stream]
            largest = max_speed if stream == FLOW else None
            pictures[stream] = STREAMS[stream].draw(np.asarray(values), largest)
    return pictures


def choose_max_speed(clip: StoredClip) -> float:
    """The speed to show in full colour: what 99.5 % of a sample's pixels do not exceed, or 1 px."""
    if FLOW not in clip.streams:
        return 1.0
    flow = clip.decode(spread_indices(clip.entry.num_frames, 8))[FLOW]
    speed = np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 99.5)
    return float(max(1.0, speed))


def _named(render: Drawings) -> Mapping[str, PoseRenderConfig]:
    if isinstance(render, Mapping):
        return render
    return {POSE: render or PoseRenderConfig()}


def _write_picture(
    clips: Sequence[StoredClip],
    path: pathlib.Path,
    num_columns: int,
    render: Drawings,
    streams: Sequence[str] | None,
) -> None:
    drawn = []
    for clip in clips:
        max_speed = choose_max_speed(clip)
        indices = spread_indices(clip.entry.num_frames, num_columns)
        rows = draw_streams(clip, indices, max_speed, render, streams)
        drawn.append((clip, indices, max_speed, rows))
    shapes = [next(iter(rows.values())).shape for *_, rows in drawn]
    row_heights = [_TILE * height / width for _, height, width, _ in shapes]
    lefts = [_MARGIN + column * (_TILE + _GAP) for column in range(num_columns + 1)]
    sheet = Sheet(
        lefts[-1] + _LEGEND,
        sum(
            _TITLE + len(rows) * (height + _GAP)
            for height, (*_, rows) in zip(row_heights, drawn, strict=True)
        ),
    )
    top = 0.0
    for height, (clip, indices, max_speed, rows) in zip(row_heights, drawn, strict=True):
        sheet.write(_title(clip), 0.08, top + 0.2, fontsize=9, weight="bold")
        for left, index in zip(lefts, indices, strict=False):
            text = f"frame {index}, {clip.timestamps[index]:.2f} s"
            sheet.write(text, left + _TILE / 2, top + 0.4, fontsize=7, ha="center", color="0.35")
        top += _TITLE
        for stream, pictures in rows.items():
            # Drawings are titled by their names.
            title, middle = STREAM_TITLES.get(stream, stream), top + height / 2
            letters = 9 if stream in clip.streams else 7  # the names of drawings are long
            sheet.write(title, 0.25, middle, fontsize=letters, rotation=90, ha="center")
            for left, picture in zip(lefts, pictures, strict=False):
                sheet.show(picture, left, top, _TILE, height)
            if stream == FLOW:
                left, size = lefts[-1] + 0.1, min(_LEGEND - 0.3, height * 0.75)
                sheet.show(flow_legend(200), left, top, size, size, outlined=False)
                text = f"rim: {max_speed:.1f} px\nper frame; centre: rest"
                style: dict[str, Any] = {"fontsize": 7, "ha": "center", "va": "top"}
                sheet.write(text, left + size / 2, top + size + 0.02, **style)
            top += height + _GAP
    sheet.save(path)


def _write_video(
    clips: Sequence[StoredClip],
    path: pathlib.Path,
    render: Drawings,
    streams: Sequence[str] | None,
) -> None:
    shapes = [clip.decode([0])[RGB].shape[1:3] for clip in clips]
    height, width = (max(sides) for sides in zip(*shapes, strict=True))
    shown = [clip.streams if streams is None else streams for clip in clips]
    more = len(_named(render)) - 1
    num_streams = max(len(each) + more * (POSE in each) for each in shown)
    # Of an odd size `VideoFile` would cut a row or column of a picture.
    size = (width * num_streams + width * num_streams % 2, height + _BAND + (height + _BAND) % 2)
    with VideoFile(path, clips[0].fps) as file:
        for clip in clips:
            for frame in _video_frames(clip, (width, height), size, render, streams):
                file.write(frame)


def _video_frames(
    clip: StoredClip,
    tile: tuple[int, int],
    size: tuple[int, int],
    render: Drawings,
    streams: Sequence[str] | None,
) -> Iterator[np.ndarray]:
    """uint8 RGB `[height, width, 3]` of `size`: a line of text above the streams in their tiles."""
    max_speed = choose_max_speed(clip)
    legend = flow_legend(max(16, min(tile) // 5))
    for start in range(0, clip.entry.num_frames, _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, clip.entry.num_frames))
        tiles = draw_streams(clip, indices, max_speed, render, streams)
        for position, index in enumerate(indices):
            canvas = np.zeros((size[1], size[0], 3), np.uint8)
            for column, (stream, pictures) in enumerate(tiles.items()):
                picture = pictures[position]
                if stream == FLOW:
                    picture = _with_legend(picture, legend, f"{max_speed:.1f} px")
                elif stream not in clip.streams:  # one drawing of several
                    picture = _with_name(picture, stream)
                left = column * tile[0]
                canvas[_BAND : _BAND + picture.shape[0], left : left + picture.shape[1]] = picture
            _write_text(canvas, f"{clip.timestamps[index]:.2f} s  {_title(clip)}")
            yield canvas


def _with_legend(picture: np.ndarray, legend: np.ndarray, rim: str) -> np.ndarray:
    """The wheel of colours in the lower right corner, with the speed at its rim on its left."""
    picture = picture.copy()
    side = min(len(legend), *picture.shape[:2])
    axis = np.linspace(-1, 1, side)
    disc = np.hypot(axis[:, None], axis[None, :]) <= 1
    picture[-side:, -side:][disc] = legend[:side, :side][disc]
    left = picture.shape[1] - side - measure_text(rim, _LETTERS) - 2
    if left > picture.shape[1] // 3:  # else it would hide the flow
        draw_text(picture, rim, (left, picture.shape[0] - 4), _LETTERS, color=(0, 0, 0))
    return picture


def _with_name(picture: np.ndarray, name: str) -> np.ndarray:
    """Text in the lower left corner, readable on any frame."""
    picture = picture.copy()
    draw_text(picture, name, (4, picture.shape[0] - 4), _LETTERS, outline=(0, 0, 0))
    return picture


def _write_text(canvas: np.ndarray, text: str) -> None:
    """Up to two lines in the upper band; what does not fit is left out."""
    for bottom in (11, 24):
        line = fit_text(text, _LETTERS, canvas.shape[1] - 8)
        draw_text(canvas, line, (4, bottom), _LETTERS)
        text = text[len(line) :].lstrip(" |")


def _title(clip: StoredClip) -> str:
    return (
        f"{clip.entry.clip_id}  |  {clip.label_name} ({clip.split})  |  "
        f"{clip.entry.num_frames} frames, {clip.fps:g} fps  |  "
        f"pose: {clip.info.pose or 'none'}, flow: {clip.info.flow or 'none'}"
        + "".join(f", {name}" for name in clip.info.sources)
    )
