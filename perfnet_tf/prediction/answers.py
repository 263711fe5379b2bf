"""What a network says about clips of a video."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from scipy.special import expit

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline.video_clip import central_streams
from perfnet_tf.label_kinds import MULTI_LABEL, SINGLE_LABEL
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.people import People, PoseEstimator
from perfnet_tf.preparation.frame_sources import sources_of_frames
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS, DEFAULT_SHORT_SIDE, Recognizer
from perfnet_tf.video.decode import VideoStream


def top_classes(
    logits: np.ndarray, classes: Sequence[str], count: int, label_kind: str = SINGLE_LABEL
) -> list[tuple[str, float]]:
    """(class, probability in [0, 1]) of the likeliest classes, the likeliest first.

    `label_kind` `single`: the probabilities of all classes sum to 1; `multi`: each is independent.
    """
    order = np.argsort(-logits, kind="stable")[:count]
    if label_kind == MULTI_LABEL:
        probabilities = expit(logits.astype(np.float64))
    else:
        exponentials = np.exp(logits - logits.max(), dtype=np.float64)
        probabilities = exponentials / exponentials.sum()
    return [(classes[index], float(probabilities[index])) for index in order]


@dataclass(frozen=True)
class PoseSource:
    """Where the people in a video come from, for networks of the pose stream.

    Attributes:
        pose: `posenet`, `movenet` or a registered estimator.
        pose_weights: see `make_estimator`.
    """

    pose: str = "posenet"
    pose_weights: str | None = None

    @functools.cached_property
    def estimator(self) -> PoseEstimator:
        """Loaded when it is first used."""
        return make_estimator(self.pose, self.pose_weights)


class ClipClassifier:
    """A network with the clip that it sees of a video.

    Attributes:
        classes: class names in the order of the logits.
        label_kind: what makes probabilities of the logits, see `label_kinds`.
        clip: what the network sees of a window.
        fps: frames per second that it expects; None: each video's own.
        short_side: pixels of the shorter side of its training records.
        span: frames from the first to the last that a clip takes.
    """

    def __init__(
        self, model: Network, clip: ClipConfig | None = None, people: PoseSource | None = None
    ) -> None:
        """Loads the network, folded where that is possible.

        Args:
            model: what `load` takes.
            clip: what it sees; None takes its own evaluation clip.
            people: for a network of the pose stream.

        Raises:
            InputError: as `load`, or classes or clip are unknown.
        """
        self._recognizer: Recognizer = load(model, folded=True)
        self._people = people or PoseSource()
        self.classes = self._recognizer.known_classes()
        self.label_kind = self._recognizer.label_kind
        self.clip = clip or self._recognizer.expected_clip()
        self.fps = self._recognizer.fps
        self.short_side = self._recognizer.short_side or DEFAULT_SHORT_SIDE
        self.span = (self.clip.num_frames - 1) * self.clip.frame_stride + 1

    def open(self, path: str | os.PathLike[str]) -> VideoStream:
        """A video at the rate and size of the network's training records; errors of the stream."""
        return VideoStream(
            path,
            fps=self.fps,
            short_side=self.short_side,
            square_pixels=self._recognizer.square_pixels,
        )

    def classify(
        self, windows: Sequence[tuple[np.ndarray, np.ndarray]], *, fps: float | None = None
    ) -> np.ndarray:
        """Logits of clips that have the network's rate.

        Args:
            windows: consecutive frames, uint8 RGB `[frames, height, width, 3]`, and the indices of
                those that the clip is made of, int `[clip's frames]`; cut centrally here. Flow is
                computed from each of them to the next frame of the window.
            fps: frames per second of the windows; None takes those that the network expects.

        Returns:
            float32 `[windows, classes]`.
        """
        stream, render = self._recognizer.stream, self._recognizer.render
        rate = fps or self.fps or DEFAULT_FPS
        clips = []
        for frames, indices in windows:

            def find_people(wanted: np.ndarray, frames: np.ndarray = frames) -> People:
                return self._people.estimator(frames[wanted])

            sources = sources_of_frames(
                frames, rate, [stream], indices=indices, find_people=find_people
            )
            clips.append(central_streams(sources, self.clip, [stream], render)[stream])
        return np.asarray(self._recognizer.predict(tf.stack(clips)).numpy())

    def indices(self, num_frames: int) -> np.ndarray:
        """Which frames of a window of `num_frames` its clip is made of; the last is repeated."""
        taken = np.arange(0, self.span, self.clip.frame_stride)
        return np.minimum(taken, num_frames - 1)
