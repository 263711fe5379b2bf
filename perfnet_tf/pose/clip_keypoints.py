"""The keypoints that a file holds of one video, and how they come onto the frames of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.people import People, assemble_people
from perfnet_tf.streams import NUM_KEYPOINTS


@dataclass(frozen=True, eq=False)
class ClipKeypoints:
    """Keypoints of one video, frame by frame.

    Attributes:
        frames: for each frame float64 `[people, 17, 3]`: x, y and score of COCO's keypoints, best
            person first; scores as the file has them.
        size: width and height in which x and y are measured, such as pixels; None: pixels of the
            video.
        fps: frames per second, the first at 0 s; None: one entry for each frame of the video.
        every_frame: frames without people are there as well, empty; False: the last entries may be
            missing.
    """

    frames: Sequence[np.ndarray]
    size: tuple[float, float] | None = None
    fps: float | None = None
    every_frame: bool = True

    @property
    def has_scores_to_clip(self) -> bool:
        """Whether any score is outside [0, 1]."""
        return any(
            len(people) > 0 and bool((people[..., 2] < 0).any() or (people[..., 2] > 1).any())
            for people in self.frames
        )

    def at_times(self, timestamps: np.ndarray) -> np.ndarray:
        """Index of the entry nearest to each of `timestamps` (seconds); needs `fps`."""
        if self.fps is None:
            raise ValueError("Keypoints without a frame rate have no times.")
        return np.floor(np.asarray(timestamps) * self.fps + 0.5).astype(np.int64)

    def people(
        self, indices: np.ndarray, video_size: tuple[float, float], max_people: int | None = None
    ) -> People:
        """The people of the entries at `indices`, scores clipped to [0, 1].

        Args:
            indices: int `[frames]`. Past the end is the last entry where `every_frame`, else
                nobody.
            video_size: width and height of the video, pixels.
            max_people: people kept in each frame; None keeps as many as the fullest entry has.
        """
        divisor = np.array([*(self.size or video_size), 1.0])
        last = len(self.frames) - 1
        nobody = np.zeros((0, NUM_KEYPOINTS, 3))
        poses = []
        for index in np.asarray(indices):
            here = index <= last or self.every_frame
            poses.append(self._scaled(min(index, last), divisor) if here and last >= 0 else nobody)
        if max_people is None:
            max_people = max(1, max((len(people) for people in self.frames), default=1))
        return assemble_people(poses, max_people)

    def _scaled(self, index: int, divisor: np.ndarray) -> np.ndarray:
        people = np.asarray(self.frames[index] / divisor)
        people[..., 2] = np.clip(people[..., 2], 0.0, 1.0)
        return people


def sort_people(people: np.ndarray, scores: np.ndarray | None = None) -> np.ndarray:
    """Sorts a frame's people `[people, 17, 3]` by falling score; equal ones keep their order.

    Args:
        people: the people.
        scores: `[people]`, of whole persons; None takes the mean score of their keypoints.
    """
    if scores is None:
        scores = people[..., 2].mean(axis=1)
    return people[np.argsort(-np.asarray(scores), kind="stable")]


def check_finite(people: np.ndarray, where: str) -> np.ndarray:
    """Raises `InputError` if a coordinate or score is not a finite number.

    Args:
        people: the keypoints.
        where: the file and the frame, for the message.
    """
    if not np.isfinite(people).all():
        raise InputError(f"Keypoints must be finite numbers. Received: NaN or infinity in {where}.")
    return people
