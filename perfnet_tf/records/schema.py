"""What a prepared dataset holds: its folder, its records, and the dataclasses for both.

A prepared dataset is a folder:

| file                          | holds                                                          |
|-------------------------------|----------------------------------------------------------------|
| `dataset.json`                | a `DatasetInfo`; written last, so a folder with it is complete |
| `train-00000-of-00004.tfrecord` | one `tf.train.SequenceExample` a clip, classes mixed         |
| `train.index.jsonl`           | one `IndexEntry` a clip, in the order of the shards            |
| `failures.jsonl`              | one `ClipFailure` a line: what did not decode wholly, and why  |

A record follows MediaSequence (`mediapipe/util/sequence/media_sequence.h`) where it has a key for
a thing, so that other readers of it, Model Garden's among them, find the frames and the label:

| key                          | in      | type   | meaning                                        |
|------------------------------|---------|--------|------------------------------------------------|
| `clip/media_id`              | context | bytes  | `clip_id`, unique in the dataset               |
| `clip/label/index`           | context | int64  | index into `DatasetInfo.classes`               |
| `clip/label/text`            | context | bytes  | the class's name                               |
| `image/format`               | context | bytes  | `JPEG`                                         |
| `image/height`, `image/width`| context | int64  | pixels                                         |
| `image/channels`             | context | int64  | 3                                              |
| `image/frame_rate`           | context | float  | stored frames a second                         |
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

"frames" are feature lists with one entry a frame. Keypoints and boxes are fractions of the frame
in [0, 1]; absent people are zeros and come last. Flow is quantised by `flow.encoding`.

The folder may be remote (`gs://bucket/data`), as a string: a `pathlib.Path` loses a slash of it.
Importing this module does not import TensorFlow; reading a remote folder does.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, TypeVar

import numpy as np

from perfnet_tf.errors import InputError, check_choice, is_utf8
from perfnet_tf.records.validation import check_failure, check_index_entry, check_info

T = TypeVar("T")

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
ENCODED_KEY = "image/encoded"
TIMESTAMP_KEY = "image/timestamp"
FLOW_ENCODED_KEY = "FORWARD_FLOW/image/encoded"
FLOW_FORMAT_KEY = "FORWARD_FLOW/image/format"
FLOW_BOUND_KEY = "flow/bound"
KEYPOINTS_KEY = "pose/keypoints"
BOXES_KEY = "pose/boxes"

#: Our choice: at 95 the loss is below what resizing costs; q75 would halve the RGB's size.
JPEG_QUALITY = 95

#: The most bytes that the frames of a clip take, decoded: a wide panorama resized to a short side
#: of 256 would otherwise fill any memory. 300 s of 25 frames a second at 256x455 are 2.6 GB.
MAX_CLIP_BYTES = 2**32

#: The most bytes that the frames and the flow of a clip take in its record: a protocol buffer holds
#: 2 GiB, of which this leaves enough for the poses.
MAX_RECORD_BYTES = 2**31 - 2**27

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
        path: the video file.
        label: index into the dataset's classes.
        label_name: name of that class.
        split: one of `SPLITS`.
        group: clips of one group were cut from one video and must not be in two splits.
    """

    clip_id: str
    path: str
    label: int
    label_name: str
    split: str
    group: str | None = None

    def __post_init__(self) -> None:
        check_choice("split", self.split, SPLITS)


@dataclass(frozen=True, eq=False)
class ClipRecord:
    """A clip as it is stored: frames and what was computed from them.

    Attributes:
        clip_id, label, label_name, group: as in `SourceClip`.
        frames: uint8 `[frames, height, width, 3]`, RGB.
        timestamps: float64 `[frames]`, seconds from the start of the video.
        fps: stored frames a second.
        keypoints: float32 `[frames, people, 17, 3]`, (x, y) in [0, 1] and score; None without pose.
        boxes: float32 `[frames, people, 4]` in [0, 1]; None without pose.
        flow: float32 `[frames, height, width, 2]`, (dx, dy) in pixels a frame; None without flow.
        truncated: whether the video broke off before its end.
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
    """One split of a prepared dataset, as it stands in `dataset.json`."""

    num_clips: int
    num_frames: int
    #: File names, in order.
    shards: list[str]
    #: Clips in each of `shards`.
    clips_per_shard: list[int]
    #: Hexadecimal SHA-256 of each of `shards`.
    sha256: list[str]
    #: Class name -> clips; every class is there, in label order.
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
        fps: stored frames a second; None keeps each video's own.
        short_side: shorter side of the stored frames, pixels.
        pose: name of the pose estimator, or None.
        max_people: people stored a frame (`pose/keypoints` is padded to it).
        flow: `tvl1`, `dis`, or None.
        flow_bound: pixels a frame that the largest quantised flow stands for.
        num_failed: clips that gave no record (`failures.jsonl` says why).
        num_truncated: clips of which a part decoded, and was kept.
        parameters: everything else that decided the records, for the reader's eye.
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
    parameters: Mapping[str, Any] = field(default_factory=dict)

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


@dataclass(frozen=True)
class IndexEntry:
    """Where a clip's record lies.

    Attributes:
        clip_id, label: as in `SourceClip`.
        num_frames: stored frames.
        shard: index into `SplitInfo["shards"]`.
        offset, length: bytes of the serialized SequenceExample in the shard, without the TFRecord
            framing around it.
        group: as in `SourceClip`; None also where an older version prepared the dataset.
    """

    clip_id: str
    label: int
    num_frames: int
    shard: int
    offset: int
    length: int
    group: str | None = None


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


def check_class_names(classes: Iterable[str]) -> None:
    """Raises `InputError` unless every class can stand in a text file, one a line."""
    for name in classes:
        if not name or name != name.strip() or len(name.splitlines()) != 1 or not is_utf8(name):
            raise InputError(
                "A class name is one line without blanks at its ends, in UTF-8. "
                f"Received: {name!r}. Rename the class, which is often a folder's name."
            )


def read_dataset_info(data_dir: str | pathlib.Path) -> DatasetInfo:
    """Reads `dataset.json` of a prepared dataset.

    Raises:
        InputError: the folder is missing or no prepared dataset, its preparation did not end, or
            the file is damaged.
    """
    path = record_path(data_dir, DATASET_FILE)
    try:
        values = json.loads(_read_text(path))
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        if pathlib.Path(data_dir, PARTS_FOLDER).is_dir():
            raise InputError(
                f"The preparation of {data_dir} is not finished. Run the same perfnet prepare "
                "command again: it goes on where it stopped."
            ) from None
        raise InputError(
            f"A prepared dataset is a folder with a {DATASET_FILE}. Received: {data_dir}. "
            "Make one with perfnet prepare."
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error
    try:
        check_info(values)
        return DatasetInfo(**{**values, "classes": tuple(values["classes"])})
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged, or not of this version: {_reason(error)}. "
            "Copy it again, or prepare the data again."
        ) from error


def write_dataset_info(data_dir: str | pathlib.Path, info: DatasetInfo) -> None:
    """Writes `dataset.json` in one step: readers see all of it or nothing."""
    path = pathlib.Path(data_dir) / DATASET_FILE
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w") as file:
        file.write(json.dumps(dataclasses.asdict(info), indent=2) + "\n")
        # A preparation removes its parts once this stands.
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def index_file(split: str) -> str:
    """Name of the file with the `IndexEntry` lines of a split."""
    return f"{split}.index.jsonl"


def read_index(data_dir: str | pathlib.Path, split: str) -> Iterator[IndexEntry]:
    """The clips of a split in stored order, without opening a record.

    Raises:
        InputError: there is no such dataset or split, or its index is missing or damaged.
    """
    info = read_dataset_info(data_dir)
    of_split = info.split(split)
    path = record_path(data_dir, index_file(split))

    def entry(values: Any) -> IndexEntry:
        check_index_entry(values, num_classes=info.num_classes, num_shards=len(of_split["shards"]))
        return IndexEntry(**values)

    count = 0
    try:
        for found in _read_lines(path, entry):
            count += 1
            yield found
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: the prepared dataset is damaged. "
            "Copy it again, or prepare it again into an empty folder."
        ) from error
    if count != of_split["num_clips"]:
        raise InputError(
            f"{path} must have a line for each of the {of_split['num_clips']} clips that "
            f"{DATASET_FILE} counts. Received: {count}. Copy it again, or prepare the data again."
        )


def read_failures(data_dir: str | pathlib.Path) -> list[ClipFailure]:
    """Every line of `failures.jsonl`; empty where all went well.

    Raises:
        InputError: the file is damaged.
    """

    def failure(values: Any) -> ClipFailure:
        check_failure(values)
        return ClipFailure(**values)

    try:
        return list(_read_lines(record_path(data_dir, FAILURES_FILE), failure))
    except FileNotFoundError:
        return []


def _read_lines(path: str, make: Callable[[Any], T]) -> Iterator[T]:
    """What `make` makes of the JSON of each line."""
    number = 0
    try:
        for line in _read_text(path).split("\n"):
            number += 1
            if line:
                yield make(json.loads(line))
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged in line {number}: {_reason(error)}. "
            "Copy it again, or prepare the data again."
        ) from error


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def record_path(data_dir: str | pathlib.Path, name: str) -> str:
    """Path of the file `name` in a prepared dataset, local or remote."""
    if _is_remote(name):  # a shard of a subset
        return name
    if _is_remote(data_dir):
        return f"{str(data_dir).rstrip('/')}/{name}"
    return str(pathlib.Path(data_dir) / name)


def _is_remote(path: str | pathlib.Path) -> bool:
    return "://" in str(path)


def _read_text(path: str) -> str:
    """Raises `FileNotFoundError`, also of a remote file, and `InputError` of an unreadable one."""
    if not _is_remote(path):
        try:
            return pathlib.Path(path).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path) as file:
            return str(file.read())
    except (tf.errors.NotFoundError, tf.errors.UnimplementedError) as error:
        raise FileNotFoundError(str(error)) from error
