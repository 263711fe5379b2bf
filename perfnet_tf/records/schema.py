"""What a prepared dataset holds: its folder, its records, and the dataclasses for both.

A prepared dataset is a folder:

| file                          | holds                                                          |
|-------------------------------|----------------------------------------------------------------|
| `dataset.json`                | a `DatasetInfo`; written last, so a folder with it is complete |
| `train-00000-of-00004.tfrecord` | one `tf.train.SequenceExample` per clip, classes mixed         |
| `train.index.jsonl`           | one `IndexEntry` per clip, in the order of the shards            |
| `failures.jsonl`              | one `ClipFailure` per line: what did not decode wholly, and why  |

A record follows MediaSequence (`mediapipe/util/sequence/media_sequence.h`) where it has a key for
a thing, so that other readers of it, Model Garden's among them, find the frames and the label:

| key                          | in      | type   | meaning                                        |
|------------------------------|---------|--------|------------------------------------------------|
| `clip/media_id`              | context | bytes  | `clip_id`, unique in the dataset               |
| `clip/label/index`           | context | int64  | index into `DatasetInfo.classes`; of several   |
|                              |         |        | labels all, the lowest first                   |
| `clip/label/text`            | context | bytes  | the class's name, or theirs                    |
| `image/format`               | context | bytes  | `JPEG`                                         |
| `image/height`, `image/width`| context | int64  | pixels                                         |
| `image/channels`             | context | int64  | 3                                              |
| `image/frame_rate`           | context | float  | stored frames per second                       |
| `image/encoded`              | frames  | bytes  | RGB as JPEG, quality `JPEG_QUALITY`            |
| `image/timestamp`            | frames  | int64  | microseconds from the start of the video       |
| `FORWARD_FLOW/image/format`  | context | bytes  | `PNG`                                          |
| `FORWARD_FLOW/image/encoded` | frames  | bytes  | (dx, dy) to the next frame, 2-channel PNG      |
| `clip/num_frames`            | context | int64  | ours: number of stored frames                  |
| `clip/group`                 | context | bytes  | ours: clips of one group come from one video   |
| `clip/truncated`             | context | int64  | ours: 1 where the video broke off early        |
| `flow/bound`                 | context | float  | ours: bound of the flow's quantisation, pixels |
| `pose/keypoints`             | frames  | float  | ours: max_people x 17 x (x, y, score)          |
| `pose/boxes`                 | frames  | float  | ours: max_people x (x_min, y_min, x_max, y_max)|
| `source/NAME`                | frames  | any    | ours: a registered source (`streams.Source`)   |

"frames" are feature lists with one entry per frame. Keypoints and boxes are fractions of the frame
in [0, 1]; absent people are zeros and come last. Flow in pixels per frame is
`(level - 128) * bound / 127` of the PNG's levels, grey for dx and alpha for dy (`flow.encoding`);
TensorFlow decodes it with `channels=0`. docs/records.md reads a clip with TensorFlow alone.

Importing this module does not import TensorFlow. `records.folder` reads and writes the folder.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np

from perfnet_tf.errors import check_choice
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.streams import BOXES, FLOW, KEYPOINTS, RGB, SOURCES

#: Key of each field in the SequenceExample.
MEDIA_ID_KEY = "clip/media_id"
LABEL_KEY = "clip/label/index"
LABEL_TEXT_KEY = "clip/label/text"
NUM_FRAMES_KEY = "clip/num_frames"
GROUP_KEY = "clip/group"
TRUNCATED_KEY = "clip/truncated"
FORMAT_KEY = "image/format"
HEIGHT_KEY = "image/height"
WIDTH_KEY = "image/width"
CHANNELS_KEY = "image/channels"
FRAME_RATE_KEY = "image/frame_rate"
TIMESTAMP_KEY = "image/timestamp"
FLOW_BOUND_KEY = "flow/bound"
ENCODED_KEY = SOURCES[RGB].key
FLOW_ENCODED_KEY = SOURCES[FLOW].key
KEYPOINTS_KEY = SOURCES[KEYPOINTS].key
BOXES_KEY = SOURCES[BOXES].key

#: Our choice: at 95 the loss is below what resizing costs; q75 would halve the RGB's size.
JPEG_QUALITY = 95

#: The most bytes that the frames of a clip take, decoded: a wide panorama resized to a short side
#: of 256 would otherwise fill any memory. 300 s of 25 frames per second at 256x455 are 2.6 GB.
MAX_CLIP_BYTES = 2**32

#: The most bytes that the frames and the flow of a clip take in its record: a protocol buffer holds
#: 2 GiB, of which this leaves enough for the poses.
MAX_RECORD_BYTES = 2**31 - 2**27

#: A TFRecord is length (8 bytes), its checksum (4), the data, its checksum (4).
HEADER_BYTES = 12
FRAMING_BYTES = 16

DATASET_FILE = "dataset.json"
FAILURES_FILE = "failures.jsonl"
#: Where clips wait, one file each, until all are done.
PARTS_FOLDER = "parts"
#: `unused`: prepared for another of the dataset's official splits (`records.subset`) only.
SPLITS = ("train", "val", "test", "unused")


@dataclass(frozen=True)
class SourceClip:
    """A video that is to become a record.

    Attributes:
        clip_id: unique in the dataset; path-like, without extension: `Lunges/v_Lunges_g01_c01`.
        path: the video file, or a folder of numbered pictures.
        label: index into the dataset's classes.
        label_name: name of that class.
        split: one of `SPLITS`.
        group: clips of one group were cut from one video and must not be in two splits.
        start, end: seconds; the clip is this part of the video. None takes all of it.
        first_frame, num_frames: the same as frames: those before the part, and those in it.
        other_labels, other_label_names: further classes of a clip of several, in label order, all
            above `label`.
    """

    clip_id: str
    path: str
    label: int
    label_name: str
    split: str
    group: str | None = None
    start: float | None = None
    end: float | None = None
    first_frame: int | None = None
    num_frames: int | None = None
    other_labels: tuple[int, ...] = ()
    other_label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)
        for name in ("other_labels", "other_label_names"):  # lists come from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def labels(self) -> dict[int, str]:
        """Every label -> its class's name, in label order."""
        others = zip(self.other_labels, self.other_label_names, strict=True)
        return {self.label: self.label_name, **dict(others)}

    @property
    def is_part(self) -> bool:
        """Whether the clip may be a part of what is at its path."""
        return self.start is not None or self.first_frame is not None

    @functools.cached_property
    def key(self) -> str:
        """A file name; different for another label or split, whatever the video's path."""
        parts = [self.clip_id, self.label, self.label_name, self.split, self.group]
        extent = [self.start, self.end, self.first_frame, self.num_frames]
        if extent != [None] * 4:
            parts += extent
        if self.other_labels:
            parts.append([*self.labels.items()])
        text = json.dumps(parts)
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True, eq=False)
class ClipRecord:
    """A clip as it is stored: frames and what was computed from them.

    Attributes:
        clip_id, label, label_name, group, other_labels, other_label_names: as in `SourceClip`.
        frames: uint8 `[frames, height, width, 3]`, RGB.
        timestamps: float64 `[frames]`, seconds from the start of the video.
        fps: stored frames per second.
        keypoints: float32 `[frames, people, 17, 3]`, (x, y) in [0, 1] and score; None without pose.
        boxes: float32 `[frames, people, 4]` in [0, 1]; None without pose.
        flow: float32 `[frames, height, width, 2]`, (dx, dy) in pixels per frame; None without flow.
        truncated: whether the video broke off before its end.
        extra: name of a registered source -> its values, `[frames, *Source.shape]`.
    """

    clip_id: str
    label: int
    label_name: str
    frames: np.ndarray
    timestamps: np.ndarray
    fps: float
    keypoints: np.ndarray | None = None
    boxes: np.ndarray | None = None
    flow: np.ndarray | None = None
    group: str | None = None
    truncated: bool = False
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    other_labels: tuple[int, ...] = ()
    other_label_names: tuple[str, ...] = ()

    @property
    def num_frames(self) -> int:
        """Number of stored frames."""
        return len(self.frames)


class PoseQuality(TypedDict):
    """How much a pose estimator found in the frames of one class.

    Shares of frames, in [0, 1].
    """

    #: At least one person.
    person: float
    #: At least one person with `GOOD_KEYPOINTS` keypoints of score `GOOD_SCORE` or more.
    keypoints: float


#: What `PoseQuality.keypoints` asks of a person.
GOOD_KEYPOINTS = 8
GOOD_SCORE = 0.2


class SplitInfo(TypedDict):
    """One split of a prepared dataset, as `dataset.json` has it."""

    num_clips: int
    num_frames: int
    #: File names, in order.
    shards: list[str]
    #: Clips in each of `shards`.
    clips_per_shard: list[int]
    #: Hexadecimal SHA-256 of each of `shards`.
    sha256: list[str]
    #: Class name -> clips; every class is there, in label order. A clip counts for each of its
    #: classes.
    clips_per_class: dict[str, int]
    #: Class name -> quality, for classes with clips; empty without pose.
    pose_quality: dict[str, PoseQuality]


@dataclass(frozen=True)
class DatasetInfo:
    """`dataset.json`.

    Attributes:
        name: such as `ucf101`.
        classes: class names in label order.
        splits: split name -> `SplitInfo`.
        fps: stored frames per second; None keeps each video's own.
        short_side: shorter side of the stored frames, pixels.
        pose: name of the pose estimator, or None.
        max_people: people stored a frame (`pose/keypoints` is padded to it).
        flow: `tvl1`, `dis`, `folder` (computed before), or None.
        flow_bound: pixels per frame of the largest quantised flow.
        num_failed: clips that gave no record (`failures.jsonl` says why).
        num_truncated: clips of which a part decoded, and was kept.
        num_deinterlaced: clips of interlaced videos, which were deinterlaced.
        square_pixels: whether pixels that were not square were brought to their display shape.
        versions: of the libraries that made the records (`video.versions.library_versions`), joined
            by commas where several runs did; empty where an older version of this package did.
        num_flow_rescaled: clips whose flow, computed before, was of another size than the frames:
            it was resampled, and its vectors scaled; the file lacks the entry where there are none.
        parameters: everything else that decided the records, for the reader's eye.
        sources: names of the registered sources that the records hold besides pose and flow; the
            file lacks the entry where there are none.
        label_kind: `single` or `multi` (`label_kinds`); the file lacks the entry where it is
            `single`.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[str, SplitInfo]
    fps: float | None
    short_side: int
    pose: str | None
    max_people: int
    flow: str | None
    flow_bound: float
    num_failed: int = 0
    num_truncated: int = 0
    num_deinterlaced: int = 0
    square_pixels: bool = True
    versions: Mapping[str, str] = field(default_factory=dict)
    num_flow_rescaled: int = 0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    label_kind: str = SINGLE_LABEL

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def split(self, name: str) -> SplitInfo:
        """The split `name`.

        Raises:
            InputError: the dataset has no such split.
        """
        check_choice("split", name, self.splits)
        return self.splits[name]

    def records_digest(self, split: str) -> str:
        """SHA-256 of a split's records, hexadecimal: other clips, flow or pose give another.

        Raises:
            InputError: the dataset has no such split.
        """
        values = self.split(split)
        # A subset has the shards of the dataset that it was made of, and other counts.
        held = [values["sha256"], values["num_frames"], values["clips_per_class"]]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()


@dataclass(frozen=True)
class IndexEntry:
    """Where a clip's record is.

    Attributes:
        clip_id, label: as in `SourceClip`.
        num_frames: stored frames.
        shard: index into `SplitInfo["shards"]`.
        offset, length: bytes of the serialized SequenceExample in the shard, without the TFRecord
            framing around it.
        group: as in `SourceClip`; None also where an older version prepared the dataset.
        other_labels: as in `SourceClip`; the line lacks the entry where there are none.
    """

    clip_id: str
    label: int
    num_frames: int
    shard: int
    offset: int
    length: int
    group: str | None = None
    other_labels: tuple[int, ...] = ()

    @property
    def labels(self) -> tuple[int, ...]:
        """Every label, the lowest first."""
        return (self.label, *self.other_labels)


@dataclass(frozen=True)
class ClipFailure:
    """A line of `failures.jsonl`.

    Attributes:
        clip_id, path, split: as in `SourceClip`.
        cause: one sentence.
        kept: True for a video that broke off, of which the part that decodes is in the records;
            False for a clip without a record.
    """

    clip_id: str
    path: str
    split: str
    cause: str
    kept: bool = False
