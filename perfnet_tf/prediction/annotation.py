"""Answers written onto frames, and frames onto disk."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.prediction.windows import WindowPrediction
from perfnet_tf.video.decode import VideoStream
from perfnet_tf.video.text import CAPITAL_HEIGHT, draw_text, measure_text
from perfnet_tf.video.writing import VideoFile

_SHADE = 0.35  # share of the picture's light that stays behind the text
_BAR = (80, 200, 120)  # RGB
_FIGURE_SPACE = "\N{FIGURE SPACE}"  # as wide as a digit


def draw_answers(frame: np.ndarray, answers: Sequence[tuple[str, float]]) -> np.ndarray:
    """Writes classes with their probabilities into the lower left corner, the likeliest first.

    Args:
        frame: uint8 RGB `[height, width, 3]`.
        answers: (class, probability in [0, 1]). Classes may be in any script for which there is a
            font; see `perfnet_tf.video.text.draw_text`.

    Returns:
        A copy.
    """
    picture = frame.copy()
    height, width = picture.shape[:2]
    line = max(12, min(height, width) // 14)
    letters = round(0.6 * line / CAPITAL_HEIGHT)
    texts = [f"{share:4.0%}".replace(" ", _FIGURE_SPACE) + f" {name}" for name, share in answers]
    box_width = min(width, max((measure_text(text, letters) for text in texts), default=0) + line)
    top = max(0, height - line * len(texts) - line // 2)
    box = picture[top:, :box_width]
    box[:] = box * _SHADE
    for number, (text, (_, share)) in enumerate(zip(texts, answers, strict=True)):
        bottom = top + (number + 1) * line
        end = round(box_width * float(np.clip(share, 0, 1)))
        picture[bottom - 1 : bottom + max(1, line // 12) + 1, : end + 1] = _BAR
        draw_text(picture, text, (line // 2, bottom - line // 4), letters)
    return picture


def write_annotated(
    video: str | os.PathLike[str],
    windows: Sequence[WindowPrediction],
    output: str | os.PathLike[str],
    *,
    top: int = 3,
) -> None:
    """Writes a video again with the running answer on its frames, without its sound.

    Each frame shows the window whose middle is nearest to it.

    Args:
        video: the video that was classified.
        windows: of `predict_windows`, all of them.
        output: a `.mp4`.
        top: classes shown.

    Raises:
        InputError: no video, no window, or a file that cannot be written.
    """
    if not windows:
        raise InputError("There must be a window to show. Received: none.")
    if pathlib.Path(output).resolve() == pathlib.Path(video).resolve():
        raise InputError(f"The output must not be the video itself. Received: {output}.")
    middles = np.array([(window.start + window.end) / 2 for window in windows])
    borders = (middles[:-1] + middles[1:]) / 2
    with VideoStream(video) as probe:
        fps = probe.source_fps
    with VideoStream(video, fps=fps) as stream, VideoFile(output, fps) as file:
        for number, frame in enumerate(stream.frames()):
            seconds = number / fps
            if seconds >= windows[-1].end:
                break
            nearest = int(np.searchsorted(borders, seconds, side="right"))
            file.write(draw_answers(frame, windows[nearest].top(top)))
