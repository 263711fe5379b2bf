"""Clips on which a network is quantised, and on which its integers are compared with its floats."""

from __future__ import annotations

import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.video_files import list_videos
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.augment import central_view, frame_indices
from perfnet_tf.input_pipeline.dataset import (
    build_dataset,
    explaining_damaged_records,
    streams_of,
)
from perfnet_tf.input_pipeline.video_clip import central_streams
from perfnet_tf.preparation.frame_sources import sources_of_frames
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS, DEFAULT_SHORT_SIDE
from perfnet_tf.records.folder import read_dataset_info, record_path
from perfnet_tf.records.schema import DATASET_FILE
from perfnet_tf.streams import LABEL, POSE
from perfnet_tf.video.decode import VideoStream

#: Clips that ranges are measured on, evenly from all: more widen them by single outliers.
NUM_CLIPS = 64
#: Clips that accuracy is measured on at most, evenly from all.
NUM_CHECKED = 1000
#: Splits in the order in which they are preferred.
CALIBRATED_ON, CHECKED_ON = ("train",), ("test", "validation", "val")
#: Seconds of a video that are read: their middle is what the network sees.
_MAX_SECONDS = 20.0

#: One clip `[1, frames, height, width, channels]` as the stream has it, and its labels or None.
Clips = Iterator[tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class CalibrationData:
    """A prepared dataset, or videos, as a network sees them at evaluation.

    Attributes:
        path: folder of records or of videos, or a video.
        config: of the network.
        videos: what the network's records were: `fps`, `short_side`, `square_pixels`.
        is_records: whether `path` is a prepared dataset.
    """

    path: str
    config: ExperimentConfig
    videos: Mapping[str, Any]
    is_records: bool

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], config: ExperimentConfig, dataset: Mapping[str, Any]
    ) -> CalibrationData:
        """Checks what there is.

        Args:
            path: see the class.
            config: of the network.
            dataset: of `model.json`.

        Raises:
            InputError: neither records nor videos, records without the network's stream, or videos
                for a network of the pose stream.
        """
        path = os.fspath(path)
        is_records = tf.io.gfile.exists(record_path(path, DATASET_FILE))
        if is_records:
            read_dataset_info(path)
        else:
            list_videos([path])
            if not os.path.exists(path):
                raise InputError(
                    "Calibration data are prepared records or videos. Received: "
                    f"`calibration`={path}, which does not exist."
                )
            if config.stream == POSE:
                raise InputError(
                    "A pose network is calibrated on records, which hold the people. Received: "
                    f"`calibration`={path}, videos. Prepare them with perfnet prepare --pose."
                )
        return cls(path, config, dataset, is_records)

    def split(self, preferred: tuple[str, ...]) -> str:
        """The split of the records to use; empty for videos."""
        if not self.is_records:
            return ""
        splits = read_dataset_info(self.path).splits
        return next((name for name in preferred if name in splits), next(iter(splits)))

    def has_classes(self, classes: tuple[str, ...]) -> bool:
        """Whether the clips' labels are the network's classes, so that accuracy can be measured."""
        return self.is_records and sorted(read_dataset_info(self.path).classes) == sorted(classes)

    def label_order(self, classes: tuple[str, ...]) -> list[int]:
        """Of each class of the records the number of the network's logit."""
        return [classes.index(name) for name in read_dataset_info(self.path).classes]

    def clips(self, split: str, most: int) -> Clips:
        """At most so many clips, evenly from all of the split or all videos, cut centrally."""
        return self._of_records(split, most) if self.is_records else self._of_videos(most)

    def _of_records(self, split: str, most: int) -> Clips:
        total = read_dataset_info(self.path).split(split)["num_clips"]
        step = -(-total // most)
        stream = self.config.stream
        dataset = build_dataset(
            self.path,
            split,
            clip=self.config.resolved_eval_clip,
            streams=[stream],
            batch_size=step,
            training=False,
            # Every `step`-th clip, one at a time: the others are not read.
            input_context=tf.distribute.InputContext(step, 0, step),
        )
        with explaining_damaged_records(self.path, split):
            for batch in dataset:
                seen = streams_of(batch, [stream], self.config.pose_render)[stream]
                yield seen.numpy(), batch[LABEL].numpy()

    def _of_videos(self, most: int) -> Clips:
        paths = list_videos([self.path])[0]
        for path in paths[:: -(-len(paths) // most)]:
            yield self._of_video(path), None

    def _of_video(self, path: pathlib.Path) -> np.ndarray:
        clip, stream = self.config.resolved_eval_clip, self.config.stream
        fps = self.videos.get("fps", DEFAULT_FPS)
        with VideoStream(
            path,
            fps=fps,
            short_side=self.videos.get("short_side") or DEFAULT_SHORT_SIDE,
            square_pixels=self.videos.get("square_pixels", True),
        ) as video:
            rate = fps or video.source_fps
            frames = np.stack(list(itertools.islice(video.frames(), round(_MAX_SECONDS * rate))))
        indices = frame_indices(tf.constant(len(frames)), clip, central_view().start).numpy()
        sources = sources_of_frames(frames, rate, [stream], indices=indices)
        cut = central_streams(sources, clip, [stream], self.config.pose_render)
        return np.asarray(cut[stream])[None]


def write_calibration(data: CalibrationData, path: pathlib.Path) -> dict[str, Any]:
    """Writes the clips that ranges are measured on as an `.npy` file, which is read clip by clip.

    Returns:
        Their description for `model.json`.
    """
    split = data.split(CALIBRATED_ON)
    clips = np.concatenate([clip for clip, _ in data.clips(split, NUM_CLIPS)])
    np.save(path, clips)
    described: dict[str, Any] = {"kind": "records" if data.is_records else "videos"}
    if data.is_records:
        described |= {"name": read_dataset_info(data.path).name, "split": split}
    else:
        described |= {"name": pathlib.Path(data.path).resolve().name}
    return {**described, "num_clips": len(clips)}


def read_calibration(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """Clips float32 `[1, frames, height, width, channels]` of a file of `write_calibration`."""
    for clip in np.load(path, mmap_mode="r", allow_pickle=False):
        yield as_float_clip(clip[None])


def as_float_clip(clip: np.ndarray) -> np.ndarray:
    """Float32; uint8 of pictures in [0, 1]."""
    if clip.dtype == np.uint8:
        return np.asarray(clip / np.float32(255), np.float32)
    return np.asarray(clip, np.float32)
