"""Classifies a video all along its length, by windows that slide over it."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import check_positive, check_whole
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.prediction.answers import ClipClassifier, PoseSource, top_classes
from perfnet_tf.recognizers.load import Network


@dataclass(frozen=True, eq=False)
class WindowPrediction:
    """What a model says about a part of a video.

    Attributes:
        start, end: of the part, seconds from the beginning of the video.
        logits: float32 [classes].
        classes: the classes' names.
        label_kind: what makes probabilities of the logits, see `label_kinds`.
    """

    start: float
    end: float
    logits: np.ndarray
    classes: tuple[str, ...]
    label_kind: str = SINGLE_LABEL

    def top(self, count: int) -> list[tuple[str, float]]:
        """(class, probability in [0, 1]) of the likeliest classes, the likeliest first."""
        return top_classes(self.logits, self.classes, count, self.label_kind)


@dataclass(frozen=True)
class Segment:
    """Windows after each other with the same answer.

    Attributes:
        start, end: seconds.
        label: the likeliest class of all its windows.
        probability: its mean over them, in [0, 1].
    """

    start: float
    end: float
    label: str
    probability: float


def predict_windows(
    path: str | os.PathLike[str],
    model: Network,
    *,
    clip: ClipConfig | None = None,
    hop: float | None = None,
    people: PoseSource | None = None,
    max_seconds: float | None = None,
    batch_size: int = 4,
) -> Iterator[WindowPrediction]:
    """Classifies windows of a video, each as long as the model's clip, in order.

    Args:
        path: a video file.
        model: what `load` takes.
        clip: what it sees of a window; None takes its own evaluation clip.
        hop: seconds from the start of one window to that of the next; None takes half a window.
        people: who finds the people for a network of the pose stream; None takes PoseNet.
        max_seconds: look at this much of the beginning; None looks at all.
        batch_size: windows at once.

    Yields:
        At least one prediction. The last window ends with the video; a video shorter than a window
        has its last frame repeated, as in evaluation.

    Raises:
        InputError: no video, no network, one that does not say its classes or clip, or a number
            that is not above 0 and finite.
    """
    check_positive(hop=hop, max_seconds=max_seconds)
    check_whole(batch_size=batch_size)
    classifier = ClipClassifier(model, clip, people)
    with classifier.open(path) as stream:
        frames = stream.frames()
        head = list(itertools.islice(frames, 1))  # by then a file without frames has been reported
        fps = classifier.fps or stream.source_fps
        frames = itertools.chain(head, frames)
        if max_seconds is not None:
            frames = itertools.islice(frames, max(1, round(max_seconds * fps)))
        windows = slide(frames, classifier.span, hop_frames(classifier.span, fps, hop))
        while batch := list(itertools.islice(windows, batch_size)):
            logits = classifier.classify(
                [(window, classifier.indices(count)) for _, count, window in batch], fps=fps
            )
            for (first, count, _), values in zip(batch, logits, strict=True):
                yield WindowPrediction(
                    first / fps,
                    (first + count) / fps,
                    values,
                    classifier.classes,
                    classifier.label_kind,
                )


def hop_frames(span: int, fps: float, hop: float | None) -> int:
    """Frames from window to window: `hop` seconds, or half of a window of `span` frames."""
    return max(1, span // 2 if hop is None else round(hop * fps))


def slide(
    frames: Iterable[np.ndarray], span: int, hop: int
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Windows of `span` frames, one every `hop`, and one that ends with the last frame.

    Args:
        frames: of one shape; no more than `span` of them are held.
        span, hop: frames, at least 1.

    Yields:
        (number of the first frame, frames of the video in it, array `[span, ...]`). Only if there
        are fewer than `span` frames, the last is repeated.
    """
    held: collections.deque[np.ndarray] = collections.deque(maxlen=span)
    number = 0
    fresh = False  # is there a frame that no window has held?
    for number, frame in enumerate(frames, start=1):
        held.append(frame)
        fresh = True
        if number >= span and (number - span) % hop == 0:
            yield number - span, span, np.stack(held)
            fresh = False
    if fresh:
        count = len(held)
        window = [*held, *[held[-1]] * (span - count)]
        yield number - count, count, np.stack(window)


def mean_logits(windows: Sequence[WindowPrediction]) -> np.ndarray:
    """float32 [classes]: one answer for the video, weighing all windows alike."""
    return np.asarray(np.mean([window.logits for window in windows], axis=0))


def merge_segments(windows: Sequence[WindowPrediction]) -> list[Segment]:
    """Windows with the same likeliest class, joined.

    Where windows overlap, the boundary between two segments is half-way through what they share.
    """
    segments: list[Segment] = []
    for label, group in itertools.groupby(windows, key=lambda window: window.top(1)[0][0]):
        members = list(group)
        start, end = members[0].start, members[-1].end
        if segments:
            last = segments[-1]
            start = (start + last.end) / 2
            segments[-1] = Segment(last.start, start, last.label, last.probability)
        share = float(np.mean([window.top(1)[0][1] for window in members]))
        segments.append(Segment(start, end, label, share))
    return segments
