"""Classifies videos with an exported model, cut as evaluation cuts them."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf import features
from perfnet_tf.config import ClipConfig
from perfnet_tf.datasets.augment import central_view, cut_streams, frame_indices
from perfnet_tf.datasets.catalog import VIDEO_EXTENSIONS
from perfnet_tf.errors import InputError
from perfnet_tf.saved_model.loading import LoadedModel
from perfnet_tf.video.decode import read_video

#: Where a model does not know the rate and size of its training records: PERF-Net Sec. 4.
DEFAULT_FPS = 25.0
DEFAULT_SHORT_SIDE = 256

#: Of a longer video only this much of the beginning is looked at, as `perfnet prepare` does: frames
#: are held in memory, some 6.5 MB a second.
DEFAULT_MAX_SECONDS = 300.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one video.

    Attributes:
        video: the file.
        logits: float32 [classes].
        labels: the classes' names.
        incomplete: why only a part of the video was looked at; None if it was not so.
    """

    video: pathlib.Path
    logits: np.ndarray
    labels: tuple[str, ...]
    incomplete: str | None = None

    def top(self, count: int) -> list[tuple[str, float]]:
        """(class, probability in [0, 1]) of the likeliest classes, the likeliest first."""
        exponentials = np.exp(self.logits - self.logits.max(), dtype=np.float64)
        order = np.argsort(-self.logits, kind="stable")[:count]
        probabilities = exponentials / exponentials.sum()
        return [(self.labels[index], float(probabilities[index])) for index in order]


def predict_videos(
    videos: Iterable[str | os.PathLike[str]],
    model: LoadedModel,
    *,
    clip: ClipConfig | None = None,
    max_seconds: float = DEFAULT_MAX_SECONDS,
) -> Iterator[Prediction | InputError]:
    """Classifies each video by its central clip, in turn.

    A video is brought to the frame rate and size of the model's training records, and then cut by
    the code that cuts records for evaluation: the logits are those of `evaluate_runs`, but for
    what JPEG in the records changes.

    Args:
        videos: video files.
        model: an RGB model.
        clip: what it sees; None takes the evaluation clip that it was exported with.
        max_seconds: look at this much of the beginning of each video; its middle is classified.

    Yields:
        For each video its prediction; or, where it cannot be read, the error instead.

    Raises:
        InputError: a flow or pose model, or a `max_seconds` that is not above 0.
    """
    if not max_seconds > 0:
        raise InputError(f"max_seconds must be greater than 0. Received: {max_seconds!r}.")
    if model.stream != features.RGB:
        raise InputError(
            "Only RGB models see a video as it is. "
            f"Received: {model.path}, a {model.stream} model. "
            "Export the student that was distilled from it, or use perfnet evaluate."
        )
    clip = clip or model.info.experiment.resolved_eval_clip
    for video in videos:
        try:
            yield _predict(pathlib.Path(video), model, clip, max_seconds)
        except InputError as error:
            yield error


def classify_frames(frames: np.ndarray, model: LoadedModel, clip: ClipConfig) -> np.ndarray:
    """Logits float32 [classes] of a stored video, uint8 `[frames, height, width, 3]` RGB.

    The frames have the rate that the model was trained with; the central clip is cut from them.
    """
    view = central_view()
    indices = frame_indices(tf.constant(len(frames)), clip, view.start)
    cut = cut_streams({features.RGB: tf.gather(frames, indices)}, clip, view)
    return model(cut[features.RGB][None]).numpy()[0]


def list_videos(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """The files among `paths`, and the videos in the folders among them, sorted by name.

    A path that does not exist stays in the list: reading it tells what is wrong.

    Raises:
        InputError: a folder without a video.
    """
    videos: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        if not path.is_dir():
            videos.append(path)
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in VIDEO_EXTENSIONS)
        if not found:
            raise InputError(
                f"A folder must hold videos ({' '.join(sorted(VIDEO_EXTENSIONS))}). "
                f"Received: {path}. Name the files themselves if they have other endings."
            )
        videos += found
    return videos


def _predict(
    path: pathlib.Path, model: LoadedModel, clip: ClipConfig, max_seconds: float
) -> Prediction:
    dataset = model.info.dataset
    fps = dataset.get("fps", DEFAULT_FPS)  # None: the records keep each video's own
    short_side = dataset.get("short_side", DEFAULT_SHORT_SIDE)
    limit = max(1, round(max_seconds * (fps or DEFAULT_FPS)))
    # One frame beyond the limit tells a video that is longer from one that ends there.
    video = read_video(path, fps=fps, short_side=short_side, max_frames=limit + 1)
    incomplete = None
    if len(video.frames) > limit:
        incomplete = f"longer than {max_seconds:g} s: only that much was looked at"
    elif video.truncated:
        incomplete = f"breaks off after {video.num_source_frames} frames"
    logits = classify_frames(video.frames[:limit], model, clip)
    return Prediction(path, logits, model.labels, incomplete)
