"""Keypoints that came with the videos, on the frames that are stored."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Hashable, Sequence

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.pose.clip_keypoints import ClipKeypoints
from perfnet_tf.pose.keypoint_formats import open_keypoints
from perfnet_tf.pose.people import People
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.video.decode import Video, read_video

#: Keypoints of this many frames, and of this share of them, more or fewer than the video has still
#: count as of every frame: readers differ in the last frames (our choice).
_COUNT_TOLERANCE = 8
_COUNT_TOLERANCE_SHARE = 0.05


class GivenKeypoints:
    """Reads the people of clips from files in one of `KEYPOINT_FORMATS`."""

    def __init__(
        self,
        pose: str,
        keypoints: str | os.PathLike[str] | None,
        max_people: int,
        fps: float | None = None,
    ) -> None:
        """Opens the files; arguments and errors as of `PrepareConfig` and `open_keypoints`.

        `fps` is that of the keypoints.
        """
        self._source = open_keypoints(pose, keypoints)
        self._place = keypoints
        self._max_people = max_people
        self._fps = fps

    def __call__(self, clip: SourceClip, video: Video) -> tuple[People, bool]:
        """The people in the frames of a video, and whether any score was clipped to [0, 1].

        Args:
            clip: the clip.
            video: its frames.

        Raises:
            InputError: no keypoints, keypoints that break their format, or of another number of
                frames than the video's.
        """
        found = self._source.find(clip.clip_id, clip.path)
        if found is None:
            raise InputError(f"There are no keypoints of this clip in {self._place}.")
        keypoints = self._source.read(found)
        more_follow = video.stopped or clip.is_part
        if keypoints.fps is not None:
            indices = keypoints.at_times(video.timestamps)
        elif self._fps is not None:
            _check_count(keypoints, video, self._fps, more_follow=more_follow)
            keypoints = dataclasses.replace(keypoints, fps=self._fps)
            indices = keypoints.at_times(video.timestamps)
        else:
            _check_count(keypoints, video, None, more_follow=more_follow)
            indices = video.source_indices
        size = keypoints.size or _size_in_pixels(clip.path)
        people = keypoints.people(np.maximum(indices, 0), size, self._max_people)
        return people, keypoints.has_scores_to_clip

    def check(self, clips: Sequence[SourceClip]) -> None:
        """Raises `InputError` if no clip has keypoints, or two clips have the same ones."""
        found: dict[Hashable, SourceClip] = {}
        for clip in clips:
            place = self._source.find(clip.clip_id, clip.path)
            if place is None:
                continue
            if place in found and not (clip.is_part and clip.path == found[place].path):
                raise InputError(
                    "Keypoints must be of one clip. "
                    f"Received: {place} for {found[place].clip_id} and {clip.clip_id}. Name the "
                    "keypoints as the clips with their folders."
                )
            found[place] = clip
        if clips and not found:
            names = list(itertools.islice(self._source.names(), 3))
            raise InputError(
                "`keypoints` must hold keypoints of the videos, under their names. "
                f"Received: {self._place}, which has none of {clips[0].clip_id} and "
                f"{len(clips) - 1} others; it has {', '.join(names) or 'nothing'}."
            )


def _check_count(
    keypoints: ClipKeypoints, video: Video, fps: float | None, *, more_follow: bool
) -> None:
    """Raises `InputError` of keypoints at another rate than `fps` (None: the video's)."""
    count, of_video = len(keypoints.frames), video.num_source_frames
    seconds = of_video / video.source_fps
    expected = of_video if fps is None else round(seconds * fps)
    tolerance = max(_COUNT_TOLERANCE, _COUNT_TOLERANCE_SHARE * expected)
    too_many = count > expected + tolerance and not more_follow
    too_few = count < expected - tolerance and keypoints.every_frame
    if too_many or too_few:
        if fps is not None:
            raise InputError(
                "Keypoints must be of the whole video, at `fps_of_keypoints`. Received: keypoints "
                f"of {count} frames at {fps:g} fps for a video of {seconds:.1f} s. State the rate "
                "at which they were extracted."
            )
        raise InputError(
            f"Keypoints must be of every frame of the video. Received: keypoints of {count} frames "
            f"for a video of {of_video}. Give their rate (`fps_of_keypoints`) if they are of fewer "
            "frames per second, or extract them again."
        )


def _size_in_pixels(path: str) -> tuple[float, float]:
    """Width and height of a video in stored pixels, upright, as other programs read it."""
    height, width = read_video(path, square_pixels=False, max_frames=1).frames.shape[1:3]
    return float(width), float(height)
