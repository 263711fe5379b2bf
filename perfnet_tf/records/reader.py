"""Reads prepared records: bytes in stored order, and only the frames that are asked for."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Collection

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from perfnet_tf.errors import InputError, check_choice, first_line
from perfnet_tf.flow.encoding import decode_flow
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, record_path
from perfnet_tf.records.schema import ClipRecord, DatasetInfo, IndexEntry
from perfnet_tf.streams import BOXES, CLIP_ID, FLOW, KEYPOINTS, LABEL, RGB, STREAM_SOURCES, STREAMS

#: Pixels beside a part of a JPEG that take part in the colours of its edge.
_COLOR_MARGIN = 2
#: What `parse_clip` can decode.
SOURCES = (RGB, FLOW, KEYPOINTS, BOXES)
#: Key of `parse_clip`: height and width of the frames that a window was cut from.
STORED_SIZE = "stored_size"

#: Feature lists that a record may lack.
_OPTIONAL = (schema.FLOW_ENCODED_KEY, schema.KEYPOINTS_KEY, schema.BOXES_KEY)


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
        needed = STREAM_SOURCES.get(stream, (stream,))
        if FLOW in needed and info.flow is None:
            raise InputError(
                f"The stream {stream!r} needs optical flow, which these records do not hold. "
                "Run `perfnet prepare --flow=tvl1` into another folder."
            )
        if {KEYPOINTS, BOXES} & {*needed} and info.pose is None:
            raise InputError(
                f"The stream {stream!r} needs keypoints, which these records do not hold. "
                "Run `perfnet prepare --pose=posenet` into another folder."
            )


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
        streams: names of streams (`pose` stands for frames, keypoints and boxes), or of what they
            are fed from: `rgb`, `flow`, `keypoints`, `boxes`.
        info: of the dataset that the record is from.
        window: a function from the size of the stored frames, int32 `[2]`, height and width, to
            the part of `rgb` to keep, as `decode_frames` takes it; None keeps all.

    Returns:
        As asked for: `rgb` uint8 `[num_sampled, height, width, 3]`, `flow` float32
        `[num_sampled, height, width, 2]`, `keypoints` float32 `[num_sampled, max_people, 17, 3]`,
        `boxes` float32 `[num_sampled, max_people, 4]`. Always: `label` int32 scalar, `clip_id`
        string scalar. With a `window`, and of `rgb`: `stored_size` int32 `[2]`.

    Raises:
        InputError: the records do not hold one of `streams`.
        tf.errors.InvalidArgumentError: when it runs, of a record that is damaged.
    """
    check_streams(streams, info)
    sources = {s for stream in streams for s in STREAM_SOURCES.get(stream, (stream,))}
    people = info.max_people
    context_features = {
        schema.MEDIA_ID_KEY: tf.io.FixedLenFeature([], tf.string),
        schema.LABEL_KEY: tf.io.FixedLenFeature([], tf.int64),
        schema.NUM_FRAMES_KEY: tf.io.FixedLenFeature([], tf.int64),
    }
    frame_features = {
        RGB: (schema.ENCODED_KEY, [], tf.string),
        FLOW: (schema.FLOW_ENCODED_KEY, [], tf.string),
        KEYPOINTS: (schema.KEYPOINTS_KEY, [people, 17, 3], tf.float32),
        BOXES: (schema.BOXES_KEY, [people, 4], tf.float32),
    }
    context, lists = tf.io.parse_single_sequence_example(
        serialized,
        context_features,
        {
            key: tf.io.FixedLenSequenceFeature(shape, dtype)
            for source, (key, shape, dtype) in frame_features.items()
            if source in sources
        },
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
        LABEL: tf.cast(context[schema.LABEL_KEY], tf.int32),
        CLIP_ID: context[schema.MEDIA_ID_KEY],
    }
    for source in sorted(sources):
        # Picking the encoded frames first is what makes a 64-frame clip of a long video cheap.
        result[source] = tf.gather(lists[frame_features[source][0]], indices)
    if RGB in result:
        encoded, part = result[RGB], None
        if window is not None:
            result[STORED_SIZE] = tf.io.extract_jpeg_shape(encoded[0])[:2]
            part = window(result[STORED_SIZE])
        result[RGB] = decode_frames(encoded, part)
    if FLOW in result:
        result[FLOW] = decode_flow_frames(result[FLOW], info.flow_bound)
    return result


def decode_frames(encoded: tf.Tensor, window: tf.Tensor | None = None) -> tf.Tensor:
    """JPEG strings to frames.

    Args:
        encoded: string `[frames]`, at least one.
        window: int32 `[4]`, top, left, height and width of what to keep of each; None keeps all.

    Returns:
        uint8 `[frames, height, width, 3]`. Frames that would take more than
        `schema.MAX_CLIP_BYTES` are an `InvalidArgumentError`.
    """
    encoded = _checked_size(encoded, tf.io.extract_jpeg_shape(encoded[0], tf.int64)[:2])

    if encoded.shape[0] is None:
        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        frames = tf.map_fn(_decode, encoded, fn_output_signature=spec)
        if window is None:
            return frames
        top, left, height, width = tf.unstack(window)
        return frames[:, top : top + height, left : left + width]
    # The loop of `map_fn` takes a twentieth of what decoding takes.
    images = tf.unstack(encoded)
    if window is None:
        return tf.stack([_decode(image) for image in images])
    shapes = tf.stack([tf.io.extract_jpeg_shape(image) for image in images])
    alike = tf.reduce_all(shapes == shapes[:1])
    check = tf.debugging.Assert(alike, ["Frames of a clip must be of one size:", shapes])
    with tf.control_dependencies([check]):
        return tf.stack(_decode_parts(images, window, shapes[0, :2]))


def _decode(image: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(image, channels=3)


def _decode_parts(images: list[tf.Tensor], window: tf.Tensor, sides: tf.Tensor) -> list[tf.Tensor]:
    """The window of each image; what lies outside is decoded as far only as it must be."""
    first, size = window[:2], window[2:]
    # Colour is stored at half the resolution: the pixels at the edge are made with those beside.
    begin = tf.maximum(first - _COLOR_MARGIN, 0)
    end = tf.minimum(first + size + _COLOR_MARGIN, sides)
    wide = tf.concat([begin, end - begin], 0)
    top, left = tf.unstack(first - begin)
    height, width = tf.unstack(size)
    # Each is cut while the processor has it at hand.
    return [
        tf.io.decode_and_crop_jpeg(image, wide, channels=3)[top : top + height, left : left + width]
        for image in images
    ]


def decode_flow_frames(encoded: tf.Tensor, bound: float) -> tf.Tensor:
    """PNG strings `[frames]`, at least one, to float32 `[frames, height, width, 2]`, pixels.

    Frames that would take more than `schema.MAX_CLIP_BYTES` are an `InvalidArgumentError`.
    """
    # A PNG file begins with its signature and the size of its first block, IHDR.
    sides = tf.io.decode_raw(tf.strings.substr(encoded[0], 16, 8), tf.int32, little_endian=False)
    encoded = _checked_size(encoded, tf.cast(sides, tf.int64))
    return tf.map_fn(
        lambda image: decode_flow(image, bound),
        encoded,
        fn_output_signature=tf.TensorSpec([None, None, 2], tf.float32),
    )


def _checked_size(encoded: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """`encoded`, if as many frames of these sides fit into memory; the others are of one size."""
    num_bytes = 3 * tf.reduce_prod(sides) * tf.size(encoded, tf.int64)
    message = f"Frames of a clip must take {schema.MAX_CLIP_BYTES} bytes at most."
    fits = tf.logical_and(num_bytes <= schema.MAX_CLIP_BYTES, tf.reduce_min(sides) > 0)
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, sides])]):
        return tf.identity(encoded)


def decode_record(serialized: bytes, info: DatasetInfo) -> ClipRecord:
    """Decodes every frame of a serialized record, eagerly; what it does not hold is None.

    Raises:
        InputError: the record is damaged, or not of this dataset.
    """
    *_, group = check_record(serialized, info, complete=False)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list

    def floats(key: str, *shape: int) -> np.ndarray | None:
        if key not in lists:
            return None
        values = [frame.float_list.value for frame in lists[key].feature]
        return np.array(values, np.float32).reshape(len(values), *shape)

    def strings(key: str) -> tf.Tensor:
        return tf.constant([frame.bytes_list.value[0] for frame in lists[key].feature])

    flow = None
    timestamps = [frame.int64_list.value[0] for frame in lists[schema.TIMESTAMP_KEY].feature]
    try:
        frames = decode_frames(strings(schema.ENCODED_KEY)).numpy()
        if schema.FLOW_ENCODED_KEY in lists:
            flow = decode_flow_frames(strings(schema.FLOW_ENCODED_KEY), info.flow_bound).numpy()
        clip_id = context[schema.MEDIA_ID_KEY].bytes_list.value[0].decode()
        return ClipRecord(
            clip_id=clip_id,
            label=context[schema.LABEL_KEY].int64_list.value[0],
            label_name=context[schema.LABEL_TEXT_KEY].bytes_list.value[0].decode(),
            frames=frames,
            timestamps=np.array(timestamps) / 1e6,
            fps=context[schema.FRAME_RATE_KEY].float_list.value[0],
            keypoints=floats(schema.KEYPOINTS_KEY, info.max_people, 17, 3),
            boxes=floats(schema.BOXES_KEY, info.max_people, 4),
            flow=flow,
            group=group,
            truncated=bool(context[schema.TRUNCATED_KEY].int64_list.value[0]),
        )
    except (ValueError, IndexError, tf.errors.OpError) as error:
        raise InputError(f"A record is damaged: {first_line(error)}") from error


def check_record(
    serialized: bytes, info: DatasetInfo, *, complete: bool = True
) -> tuple[str, int, int, str | None]:
    """Checks a record against its dataset, without decoding its frames.

    Args:
        serialized: the SequenceExample.
        info: of the dataset that the record is from.
        complete: refuse a record without the pose or flow that the dataset has.

    Returns:
        Its clip id, label, number of frames and group.

    Raises:
        InputError: it cannot be parsed, lacks something, its lists have different lengths, its
            label is not that of its class, its frame rate or the bound of its flow is not the
            dataset's, or it has a number that is not finite.
    """
    try:
        example = tf.train.SequenceExample.FromString(serialized)
        context, lists = example.context.feature, example.feature_lists.feature_list
        clip_id = context[schema.MEDIA_ID_KEY].bytes_list.value[0].decode()
        label_name = context[schema.LABEL_TEXT_KEY].bytes_list.value[0].decode()
        label = context[schema.LABEL_KEY].int64_list.value[0]
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
    # Records hold float32.
    if not np.isfinite(rate) or info.fps is not None and rate != np.float32(info.fps):
        raise InputError(f"Its frame rate is {rate:g}, where dataset.json says {info.fps}.")
    if info.flow is not None and bound != np.float32(info.flow_bound):
        raise InputError(
            f"Its flow is bound by {bound:g} pixels, where dataset.json says {info.flow_bound:g}."
        )
    for key, width in _frame_lists(info).items():
        if key not in lists and key in _OPTIONAL and not complete:
            continue
        frames = lists[key].feature if key in lists else ()
        if len(frames) != num_frames or not num_frames:
            raise InputError(f"It has {len(frames)} of {num_frames} frames of {key}.")
        for frame in frames:
            floats = np.array(frame.float_list.value)
            kinds = (len(frame.bytes_list.value), len(frame.int64_list.value), len(floats))
            if kinds != width or not np.isfinite(floats).all():
                raise InputError(f"A frame of {key} holds what it must not.")
    return clip_id, label, num_frames, group


def _frame_lists(info: DatasetInfo) -> dict[str, tuple[int, int, int]]:
    """Feature list -> texts, whole numbers and numbers of each of its frames."""
    lists = {schema.ENCODED_KEY: (1, 0, 0), schema.TIMESTAMP_KEY: (0, 1, 0)}
    if info.flow is not None:
        lists[schema.FLOW_ENCODED_KEY] = (1, 0, 0)
    if info.pose is not None:
        lists[schema.KEYPOINTS_KEY] = (0, 0, info.max_people * 17 * 3)
        lists[schema.BOXES_KEY] = (0, 0, info.max_people * 4)
    return lists
