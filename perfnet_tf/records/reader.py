"""Reads prepared records: bytes in stored order, and only the frames that are asked for."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from perfnet_tf.errors import InputError, check_choice, first_line
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, record_path
from perfnet_tf.records.schema import ClipRecord, DatasetInfo, IndexEntry
from perfnet_tf.records.stored_sources import decode_frames
from perfnet_tf.streams import BOXES, CLIP_ID, FLOW, KEYPOINTS, LABEL, RGB, SOURCES, STREAMS, Source

#: Key of `parse_clip`: height and width of the frames that a window was cut from.
STORED_SIZE = "stored_size"


def shard_paths(data_dir: str | pathlib.Path, split: str) -> list[str]:
    """Paths of a split's TFRecord files, in order.

    Raises:
        InputError: there is no such dataset or split, or a shard is missing.
    """
    info = read_dataset_info(data_dir)
    paths = [record_path(data_dir, name) for name in info.split(split)["shards"]]
    for path in paths:
        if not tf.io.gfile.exists(path):
            raise InputError(
                f"{path} is missing: the prepared dataset is damaged. "
                "Copy it again, or prepare it again into an empty folder."
            )
    return paths


def read_record(
    data_dir: str | pathlib.Path, info: DatasetInfo, split: str, entry: IndexEntry
) -> bytes:
    """The SequenceExample at an entry of a split's index, local or remote.

    Raises:
        InputError: the shard is missing, cut off or cannot be read.
    """
    path = record_path(data_dir, info.split(split)["shards"][entry.shard])
    try:
        with tf.io.gfile.GFile(path, "rb") as shard:
            shard.seek(entry.offset)
            serialized = bytes(shard.read(entry.length))
    except (tf.errors.NotFoundError, tf.errors.OutOfRangeError):
        serialized = b""
    except tf.errors.OpError as error:
        raise InputError(f"{path} cannot be read: {first_line(error)}.") from error
    if len(serialized) < entry.length:
        raise InputError(
            f"{path} is missing or cut off: the prepared dataset is damaged. "
            "Copy it again, or prepare it again into an empty folder."
        )
    return serialized


def check_streams(streams: Collection[str], info: DatasetInfo) -> None:
    """Raises `InputError` unless the records hold what each of `streams` is fed from."""
    for stream in streams:
        check_choice("stream", stream, (*STREAMS, *SOURCES))
        for source in _sources([stream]):
            if not source.is_held(info):
                raise InputError(
                    f"The stream {stream!r} needs {source.content}, which these records do not "
                    f"hold. Run `perfnet prepare {source.remedy}` into another folder."
                )


def _sources(streams: Collection[str]) -> list[Source]:
    """The sources of streams, or those named themselves, in the order of registration."""
    names = {s for name in streams for s in (STREAMS[name].sources if name in STREAMS else (name,))}
    return [source for name, source in SOURCES.items() if name in names]


def parse_clip(
    serialized: tf.Tensor,
    *,
    indices: tf.Tensor | Callable[[tf.Tensor], tf.Tensor],
    streams: Collection[str],
    info: DatasetInfo,
    window: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> dict[str, tf.Tensor]:
    """Parses a record and decodes the sampled frames only. A graph function, for `tf.data`.

    Args:
        serialized: scalar string.
        indices: int `[num_sampled]`, the frames to decode, in any order, repeats allowed, at least
            one; or a function from the number of stored frames (scalar int32) to them.
        streams: names of streams (`pose` means frames, keypoints and boxes), or of what they
            are fed from: `rgb`, `flow`, `keypoints`, `boxes`.
        info: of the dataset that the record is from.
        window: a function from the size of the stored frames, int32 `[2]`, height and width, to
            the part of `rgb` to keep, as `decode_frames` takes it; None keeps all.

    Returns:
        As asked for: `rgb` uint8 `[num_sampled, height, width, 3]`, `flow` float32
        `[num_sampled, height, width, 2]`, `keypoints` float32 `[num_sampled, max_people, 17, 3]`,
        `boxes` float32 `[num_sampled, max_people, 4]`. Always: `label` int32 scalar, or float32
        `[classes]` of a dataset of several labels per clip (`label_kinds`); `clip_id` string
        scalar. With a `window`, and of `rgb`: `stored_size` int32 `[2]`.

    Raises:
        InputError: the records do not hold one of `streams`.
        tf.errors.InvalidArgumentError: when it runs, of a record that is damaged.
    """
    check_streams(streams, info)
    sources = _sources(streams)
    context_features = {
        schema.MEDIA_ID_KEY: tf.io.FixedLenFeature([], tf.string),
        schema.LABEL_KEY: tf.io.FixedLenFeature([], tf.int64)
        if info.label_kind == SINGLE_LABEL
        else tf.io.RaggedFeature(tf.int64),
        schema.NUM_FRAMES_KEY: tf.io.FixedLenFeature([], tf.int64),
    }
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features,
        {source.key: _frame_feature(source, info) for source in sources},
    )
    if callable(indices):
        lengths = tf.stack([tf.shape(frames, tf.int64)[0] for frames in lists.values()])
        stated = context[schema.NUM_FRAMES_KEY]
        whole = tf.debugging.Assert(
            tf.reduce_all(lengths == stated),
            ["A record must hold as many frames as it says:", stated, "not", lengths],
        )
        with tf.control_dependencies([whole]):
            indices = indices(tf.cast(stated, tf.int32))
    result = {
        LABEL: _label(context[schema.LABEL_KEY], info),
        CLIP_ID: context[schema.MEDIA_ID_KEY],
    }
    for source in sorted(sources, key=lambda source: source.name):
        # Picking the encoded frames first is what makes a 64-frame clip of a long video cheap.
        result[source.name] = tf.gather(lists[source.key], indices)
    for source in sources:
        stored = result[source.name]
        if source.name == RGB and window is not None:
            result[STORED_SIZE] = tf.io.extract_jpeg_shape(stored[0])[:2]
            result[RGB] = decode_frames(stored, window(result[STORED_SIZE]))
        else:
            result[source.name] = source.restore(stored, info)
    return result


def _label(stored: tf.Tensor, info: DatasetInfo) -> tf.Tensor:
    """What batches hold of int64 labels: see `label_kinds`."""
    if info.label_kind == SINGLE_LABEL:
        return tf.cast(stored, tf.int32)
    return tf.reduce_max(tf.one_hot(stored, info.num_classes), axis=0)  # [classes]


def _frame_feature(source: Source, info: DatasetInfo) -> tf.io.FixedLenSequenceFeature:
    if not source.floats:
        return tf.io.FixedLenSequenceFeature([], tf.string)
    shape = source.frame_shape(people=info.max_people)
    return tf.io.FixedLenSequenceFeature(shape, tf.float32)


def decode_record(serialized: bytes, info: DatasetInfo) -> ClipRecord:
    """Decodes every frame of a serialized record, eagerly; what it does not hold is None.

    Raises:
        InputError: the record is damaged, or not of this dataset.
    """
    _, labels, _, group = check_record(serialized, info, complete=False)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list

    def decode(source: Source) -> np.ndarray:
        frames = lists[source.key].feature
        if source.floats:
            shape = source.frame_shape(people=info.max_people)
            values = np.array([frame.float_list.value for frame in frames], np.float32)
            stored = tf.constant(values.reshape(len(frames), *shape))
        else:
            stored = tf.constant([frame.bytes_list.value[0] for frame in frames])
        return np.asarray(source.restore(stored, info).numpy())

    timestamps = [frame.int64_list.value[0] for frame in lists[schema.TIMESTAMP_KEY].feature]
    try:
        values = {name: decode(source) for name, source in SOURCES.items() if source.key in lists}
        clip_id = context[schema.MEDIA_ID_KEY].bytes_list.value[0].decode()
        return ClipRecord(
            clip_id=clip_id,
            label=labels[0],
            label_name=info.classes[labels[0]],
            other_labels=labels[1:],
            other_label_names=tuple(info.classes[label] for label in labels[1:]),
            frames=values.pop(RGB),
            timestamps=np.array(timestamps) / 1e6,
            fps=context[schema.FRAME_RATE_KEY].float_list.value[0],
            keypoints=values.pop(KEYPOINTS, None),
            boxes=values.pop(BOXES, None),
            flow=values.pop(FLOW, None),
            group=group,
            truncated=bool(context[schema.TRUNCATED_KEY].int64_list.value[0]),
            extra=values,
        )
    except (ValueError, IndexError, tf.errors.OpError) as error:
        raise InputError(f"A record is damaged: {first_line(error)}") from error


def check_record(
    serialized: bytes, info: DatasetInfo, *, complete: bool = True
) -> tuple[str, tuple[int, ...], int, str | None]:
    """Checks a record against its dataset, without decoding its frames.

    Args:
        serialized: the SequenceExample.
        info: of the dataset that the record is from.
        complete: refuse a record without the pose or flow that the dataset has.

    Returns:
        Its clip id, labels, number of frames and group.

    Raises:
        InputError: it cannot be parsed, lacks something, its lists have different lengths, its
            labels are not those of its classes, its frame rate or the bound of its flow is not the
            dataset's, or it has a number that is not finite.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        context, lists = example.context.feature, example.feature_lists.feature_list
        clip_id = context[schema.MEDIA_ID_KEY].bytes_list.value[0].decode()
        label_names = [name.decode() for name in context[schema.LABEL_TEXT_KEY].bytes_list.value]
        labels = tuple(context[schema.LABEL_KEY].int64_list.value)
        label, label_name = labels[0], label_names[0]
        num_frames = context[schema.NUM_FRAMES_KEY].int64_list.value[0]
        context[schema.TRUNCATED_KEY].int64_list.value[0]
        rate = context[schema.FRAME_RATE_KEY].float_list.value[0]
        flow = schema.FLOW_ENCODED_KEY in lists
        bound = context[schema.FLOW_BOUND_KEY].float_list.value[0] if flow else info.flow_bound
        groups = context[schema.GROUP_KEY].bytes_list.value if schema.GROUP_KEY in context else ()
        group = groups[0].decode() if groups else None
    except (DecodeError, IndexError, UnicodeDecodeError) as error:
        raise InputError(f"The record cannot be parsed: {error}.") from error
    if not 0 <= label < info.num_classes or info.classes[label] != label_name:
        raise InputError(
            f"Its label is {label} for {label_name!r}, which is not that class in dataset.json."
        )
    if len(labels) > 1 and info.label_kind == SINGLE_LABEL:
        raise InputError(f"It has {len(labels)} labels, where dataset.json says one.")
    known = [info.classes[label] for label in labels if 0 <= label < info.num_classes]
    if known != label_names or sorted(set(labels)) != [*labels]:
        raise InputError(
            f"Its labels are {labels} for {label_names}, which are not those classes in "
            "dataset.json, in their order."
        )
    # Records hold float32.
    if not np.isfinite(rate) or info.fps is not None and rate != np.float32(info.fps):
        raise InputError(f"Its frame rate is {rate:g}, where dataset.json says {info.fps}.")
    if info.flow is not None and bound != np.float32(info.flow_bound):
        raise InputError(
            f"Its flow is bound by {bound:g} pixels, where dataset.json says {info.flow_bound:g}."
        )
    optional = {source.key for source in SOURCES.values() if source.option is not None}
    for key, width in _frame_lists(info).items():
        if key not in lists and key in optional and not complete:
            continue
        frames = lists[key].feature if key in lists else ()
        if len(frames) != num_frames or not num_frames:
            raise InputError(f"It has {len(frames)} of {num_frames} frames of {key}.")
        for frame in frames:
            floats = np.array(frame.float_list.value)
            kinds = (len(frame.bytes_list.value), len(frame.int64_list.value), len(floats))
            if kinds != width or not np.isfinite(floats).all():
                raise InputError(f"A frame of {key} holds what it must not.")
    return clip_id, labels, num_frames, group


def _frame_lists(info: DatasetInfo) -> dict[str, tuple[int, int, int]]:
    """Feature list -> texts, whole numbers and numbers of each of its frames."""
    lists = {schema.ENCODED_KEY: (1, 0, 0), schema.TIMESTAMP_KEY: (0, 1, 0)}
    for source in SOURCES.values():
        if source.is_held(info):
            lists[source.key] = (int(not source.floats), 0, source.stored_size(info))
    return lists
