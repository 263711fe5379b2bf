"""Classifies videos, cut as evaluation cuts them."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.datasets import video_files
from perfnet_tf.errors import InputError, check_positive
from perfnet_tf.input_pipeline.augment import central_view, frame_indices
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.prediction.answers import ClipClassifier, PoseSource, top_classes
from perfnet_tf.recognizers.load import Network

#: Of a longer video only this much of the beginning counts, as for `perfnet prepare`.
DEFAULT_MAX_SECONDS = 300.0


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says about one video.

    Attributes:
        video: the file.
        logits: float32 [classes].
        classes: the classes' names.
        incomplete: why only a part of the video was used; None if all of it was.
        label_kind: what makes probabilities of the logits, see `label_kinds`.
    """

    video: pathlib.Path
    logits: np.ndarray
    classes: tuple[str, ...]
    incomplete: str | None = None
    label_kind: str = SINGLE_LABEL

    def top(self, count: int) -> list[tuple[str, float]]:
        """(class, probability in [0, 1]) of the likeliest classes, the likeliest first."""
        return top_classes(self.logits, self.classes, count, self.label_kind)


def predict_videos(
    videos: Iterable[str | os.PathLike[str]],
    model: Network,
    *,
    clip: ClipConfig | None = None,
    people: PoseSource | None = None,
    max_seconds: float = DEFAULT_MAX_SECONDS,
) -> Iterator[Prediction | InputError]:
    """Classifies each video by its central clip, in turn.

    A video is brought to the frame rate and size of the model's training records, and then cut by
    the code that cuts records for evaluation: the logits are those of `evaluate_runs`, but for
    what JPEG in the records changes.

    Args:
        videos: paths of video files; `list_videos` finds those of a folder.
        model: a run, a SavedModel, a Hub handle, or whatever else `load` takes. Flow and people
            are computed for networks that need them.
        clip: the clip to classify; None takes the network's evaluation clip. A video that is
            shorter repeats its last frame.
        people: the pose estimator for a network of the pose stream; None takes PoseNet.
        max_seconds: only this much of the beginning of each video counts; its middle is classified.

    Yields:
        For each video, in turn, its `Prediction`; for one that cannot be read, an `InputError`.

    Raises:
        InputError: one path in place of a list, no network, one that does not say its classes or
            clip, or a `max_seconds` that is not above 0 and finite.
    """
    if isinstance(videos, str | os.PathLike):
        raise InputError(
            f"`videos` are several: a list of paths. Received: {os.fspath(videos)!r}. "
            "Give [path], or list_videos([path])."
        )
    check_positive(max_seconds=max_seconds)
    classifier = ClipClassifier(model, clip, people)
    for video in videos:
        try:
            yield _predict(pathlib.Path(video), classifier, max_seconds)
        except InputError as error:
            yield error


def list_videos(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    """The files among `paths`, and the videos in the folders among them, sorted by name.

    A path that does not exist stays in the list: reading it reports what is wrong.

    Raises:
        InputError: a folder without a video.
    """
    return video_files.list_videos(paths)[0]


def _predict(path: pathlib.Path, classifier: ClipClassifier, max_seconds: float) -> Prediction:
    incomplete = None
    # Read twice, so that the middle need not be held in memory before the end is known. One frame
    # beyond the limit tells a video that is longer from one that ends there.
    with classifier.open(path) as stream:
        limit = max(1, round(max_seconds * (classifier.fps or stream.source_fps)))
        num_frames = stream.count(limit + 1)
        if num_frames > limit:
            num_frames = limit
            incomplete = f"longer than {max_seconds:g} s: only that much was used"
        elif stream.truncated:
            incomplete = f"breaks off after {stream.num_source_frames} frames"
    indices = frame_indices(tf.constant(num_frames), classifier.clip, central_view().start).numpy()
    first, last = int(indices[0]), int(indices[-1])
    with classifier.open(path) as stream:
        # One frame more where there is one, for the flow that leads to it.
        count = min(last + 2, num_frames) - first
        window = np.stack(list(itertools.islice(stream.frames(first), count)))
        fps = classifier.fps or stream.source_fps
    (logits,) = classifier.classify([(window, indices - first)], fps=fps)
    return Prediction(path, logits, classifier.classes, incomplete, classifier.label_kind)
