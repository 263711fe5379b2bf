"""One video to one record: decode, find people, compute flow, encode."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import encode_flow
from perfnet_tf.flow.methods import FLOW_METHODS
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.interpolation import interpolate_people
from perfnet_tf.pose.keypoint_formats import KEYPOINT_FORMATS
from perfnet_tf.pose.people import People, PoseEstimator
from perfnet_tf.preparation.clip_frames import read_clip_frames
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.folder_flow import FolderFlow
from perfnet_tf.preparation.frame_sources import extract_source
from perfnet_tf.preparation.given_keypoints import GivenKeypoints
from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.schema import (
    GOOD_KEYPOINTS,
    GOOD_SCORE,
    MAX_CLIP_BYTES,
    MAX_RECORD_BYTES,
    ClipRecord,
    SourceClip,
)
from perfnet_tf.records.stored_sources import encode_rgb
from perfnet_tf.streams import SOURCES, StorageOptions
from perfnet_tf.video.decode import Video

#: Frames at a time for pose and flow: float flow of a whole clip would be 8 times its RGB.
_CHUNK = 64
#: Of a video that keeps its own frame rate, which is not known before it is read.
_HIGHEST_FPS = 120


@dataclass(frozen=True)
class Extraction:
    """A clip ready to be stored.

    Attributes:
        serialized: the SequenceExample.
        num_frames: frames in it.
        person_frames: frames with at least one person.
        keypoint_frames: frames with a person of `GOOD_KEYPOINTS` good keypoints or more.
        incomplete: why a part of the video is missing; None where all of it is there.
        deinterlaced: whether the video was interlaced.
        flow_rescaled: whether the flow of `flow="folder"` was of another size.
        scores_clipped: whether keypoints came with scores outside [0, 1].
    """

    serialized: bytes
    num_frames: int
    person_frames: int
    keypoint_frames: int
    incomplete: str | None
    deinterlaced: bool = False
    flow_rescaled: bool = False
    scores_clipped: bool = False


class ClipExtractor:
    """Makes records; holds the pose network and the compiled flow, so make one a process."""

    def __init__(self, config: PrepareConfig) -> None:
        """Loads what the configuration asks for.

        Raises:
            InputError: no usable pose weights, or keypoints that cannot be read.
        """
        self._config = config
        self._flow = FLOW_METHODS.get(config.flow)
        self._folder_flow = FolderFlow(config) if config.flow == "folder" else None
        self._estimator: PoseEstimator | None = None
        self._given: GivenKeypoints | None = None
        if config.pose in KEYPOINT_FORMATS:
            self._given = GivenKeypoints(
                config.pose, config.keypoints, config.max_people, config.fps_of_keypoints
            )
        elif config.pose != "none":
            self._estimator = make_estimator(config.pose, config.pose_weights, config.max_people)

    def __call__(self, clip: SourceClip) -> Extraction:
        """Makes the record of one video.

        Raises:
            InputError: the video gives no record, and why.
        """
        config = self._config
        video, incomplete = self._read(clip)
        if len(video.frames) < 2:
            raise InputError(f"A clip needs at least 2 frames. Received: {clip.path}, which has 1.")
        people, scores_clipped = self._find_people(clip, video)
        flow_images, flow_rescaled = self._encode_flow(clip, video)
        frame_images = encode_rgb(video.frames)
        extra = self._encode_extra(video)
        num_frames = _count_storable(frame_images, flow_images, *extra.values())
        if num_frames < len(video.frames):
            video = _first_frames(video, num_frames)
            frame_images = frame_images[:num_frames]
            # The last repeats the one before it.
            flow_images = flow_images and [
                *flow_images[: num_frames - 1],
                flow_images[num_frames - 2],
            ]
            extra = {name: stored[:num_frames] for name, stored in extra.items()}
            people = people and People(people.keypoints[:num_frames], people.boxes[:num_frames])
            incomplete = (
                f"Larger than {MAX_RECORD_BYTES / 2**30:.2f} GiB when compressed: the rest "
                f"after {video.timestamps[-1]:.1f} s was left out."
            )
        record = ClipRecord(
            clip_id=clip.clip_id,
            label=clip.label,
            label_name=clip.label_name,
            other_labels=clip.other_labels,
            other_label_names=clip.other_label_names,
            frames=video.frames,
            timestamps=video.timestamps,
            fps=config.fps or video.source_fps,
            keypoints=None if people is None else people.keypoints,
            boxes=None if people is None else people.boxes,
            group=clip.group,
            truncated=incomplete is not None,
        )
        serialized = encode_clip(
            record,
            max_people=config.max_people,
            flow_bound=config.flow_bound,
            frame_images=frame_images,
            flow_images=flow_images,
            extra_stored=extra,
        )
        person_frames, keypoint_frames = (0, 0) if people is None else _count_found(people)
        return Extraction(
            serialized,
            num_frames,
            person_frames,
            keypoint_frames,
            incomplete,
            deinterlaced=video.deinterlaced,
            flow_rescaled=flow_rescaled,
            scores_clipped=scores_clipped,
        )

    def _read(self, clip: SourceClip) -> tuple[Video, str | None]:
        """The video, and why a part of it is missing (None: nothing is)."""
        config = self._config
        video, missing = read_clip_frames(
            clip,
            config.fps_of_frames,
            fps=config.fps,
            short_side=config.short_side,
            square_pixels=config.square_pixels,
            max_frames=math.ceil(config.max_seconds * (config.fps or _HIGHEST_FPS)),
            max_bytes=MAX_CLIP_BYTES,
        )
        times = video.timestamps - video.timestamps[0]
        kept = int(np.searchsorted(times, config.max_seconds - 1e-6))
        if kept < len(video.frames):
            video = dataclasses.replace(_first_frames(video, kept), stopped=True)
        if video.stopped:
            size = (kept + 1) * video.frames[0].nbytes
            if size > MAX_CLIP_BYTES:
                return video, (
                    f"Larger than {MAX_CLIP_BYTES / 2**30:g} GiB as "
                    f"{video.frames.shape[2]}x{video.frames.shape[1]} pixels: the rest after "
                    f"{video.timestamps[-1]:.1f} s was left out."
                )
            return video, (
                f"Longer than max_seconds={config.max_seconds:g}: the rest was left out."
            )
        if video.truncated:
            return video, (
                f"The video breaks off after {video.num_source_frames} frames, earlier than its "
                "header says: what decodes was kept."
            )
        return video, missing

    def _find_people(self, clip: SourceClip, video: Video) -> tuple[People | None, bool]:
        """The people, and whether scores of given ones were clipped."""
        if self._given is not None:
            return self._given(clip, video)
        if self._estimator is None:
            return None, False
        last = len(video.frames) - 1
        places = np.unique([*range(0, last, self._config.pose_every), last])
        chunks = [
            self._estimator(video.frames[places[start : start + _CHUNK]])
            for start in range(0, len(places), _CHUNK)
        ]
        people = People(
            np.concatenate([chunk.keypoints for chunk in chunks]),
            np.concatenate([chunk.boxes for chunk in chunks]),
        )
        return interpolate_people(people, places, len(video.frames)), False

    def _encode_extra(self, video: Video) -> dict[str, list[Any]]:
        """Registered sources, as `Source.encode` gives them."""
        storage = StorageOptions(self._config.max_people, self._config.flow_bound)
        fps = self._config.fps or video.source_fps
        return {
            name: SOURCES[name].encode(extract_source(SOURCES[name], video.frames, fps), storage)
            for name in self._config.sources
        }

    def _encode_flow(self, clip: SourceClip, video: Video) -> tuple[list[bytes] | None, bool]:
        """One PNG a frame; the last repeats the one before it, as the flow itself would.

        Also whether it was of another size.
        """
        if self._folder_flow is not None:
            return self._folder_flow(clip, video)
        if self._flow is None:
            return None, False
        frames = video.frames
        images: list[bytes] = []
        for start in range(0, len(frames) - 1, _CHUNK):
            flow = self._flow(frames[start : start + _CHUNK + 1])[:-1]
            images += encode_flow(flow, self._config.flow_bound)
        return [*images, images[-1]], False


def _count_storable(*stored: Sequence[Any] | None) -> int:
    """How many of the first frames fit into a record; `stored` are sources as it holds them."""
    sizes = np.sum([[*map(_num_bytes, frames)] for frames in stored if frames is not None], axis=0)
    fitting = np.searchsorted(np.cumsum(sizes), MAX_RECORD_BYTES, side="right")
    return max(2, int(fitting))


def _num_bytes(stored: bytes | np.ndarray) -> int:
    return len(stored) if isinstance(stored, bytes) else 4 * np.size(stored)


def _first_frames(video: Video, number: int) -> Video:
    return dataclasses.replace(
        video,
        frames=video.frames[:number],
        timestamps=video.timestamps[:number],
        source_indices=video.source_indices[:number],
    )


def _count_found(people: People) -> tuple[int, int]:
    """Frames with a person; frames with a person who has enough good keypoints."""
    scores = people.keypoints[..., 2]  # [frames, people, 17]
    anyone = (scores > 0).any(axis=(1, 2))
    well = ((scores >= GOOD_SCORE).sum(axis=2) >= GOOD_KEYPOINTS).any(axis=1)
    return int(anyone.sum()), int(well.sum())
