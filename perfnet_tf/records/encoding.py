"""A clip as the bytes of one `tf.train.SequenceExample`; `records.schema` documents the keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.records import schema
from perfnet_tf.records.schema import ClipRecord
from perfnet_tf.records.stored_sources import encode_rgb
from perfnet_tf.streams import BOXES, FLOW, KEYPOINTS, PERSON_SHAPE, RGB, SOURCES, StorageOptions


def encode_clip(
    record: ClipRecord,
    *,
    max_people: int,
    flow_bound: float,
    frame_images: Sequence[bytes] | None = None,
    flow_images: Sequence[bytes] | None = None,
    extra_stored: Mapping[str, Sequence[Any]] | None = None,
) -> bytes:
    """Serializes a clip.

    Args:
        record: the clip.
        max_people: people stored a frame: fewer are padded with zeros, more are cut off (the
            estimators sort by score).
        flow_bound: pixels per frame of the largest quantised flow.
        frame_images: `record.frames` as `encode_rgb` gives them, where they are known.
        flow_images: the flow as `encode_flow` gives it, in place of `record.flow`: float flow of a
            long clip is large.
        extra_stored: source name -> what its `Source.encode` gives, in place of `record.extra`.

    Returns:
        A serialized SequenceExample; bit for bit the same for the same record.

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_shapes(record)
    if frame_images is None:
        frame_images = encode_rgb(record.frames)
    num_frames, height, width, channels = record.frames.shape
    context = {
        schema.MEDIA_ID_KEY: _bytes([record.clip_id.encode()]),
        schema.LABEL_KEY: _ints([record.label, *record.other_labels]),
        schema.LABEL_TEXT_KEY: _bytes(
            [name.encode() for name in (record.label_name, *record.other_label_names)]
        ),
        schema.NUM_FRAMES_KEY: _ints([num_frames]),
        schema.TRUNCATED_KEY: _ints([int(record.truncated)]),
        schema.FORMAT_KEY: _bytes([b"JPEG"]),
        schema.HEIGHT_KEY: _ints([height]),
        schema.WIDTH_KEY: _ints([width]),
        schema.CHANNELS_KEY: _ints([channels]),
        schema.FRAME_RATE_KEY: _floats([record.fps]),
    }
    microseconds = np.round(np.asarray(record.timestamps) * 1e6).astype(np.int64)
    lists = {
        schema.TIMESTAMP_KEY: [_ints([timestamp]) for timestamp in microseconds],
    }
    if record.group is not None:
        context[schema.GROUP_KEY] = _bytes([record.group.encode()])
    storage = StorageOptions(max_people, flow_bound)
    stored: dict[str, Sequence[Any]] = {RGB: frame_images, **(extra_stored or {})}
    if flow_images is not None:
        stored[FLOW] = flow_images
    values = dict(record.extra)
    if record.flow is not None:
        values[FLOW] = record.flow
    if record.keypoints is not None and record.boxes is not None:
        values |= {KEYPOINTS: record.keypoints, BOXES: record.boxes}
    for name, source in SOURCES.items():
        if name not in stored and name in values:
            stored[name] = source.encode(values[name], storage)
        if name not in stored:
            continue
        if len(stored[name]) != num_frames:
            kind = "frame" if name == RGB else name
            raise InputError(
                f"There must be one {kind} image a frame. Received: {len(stored[name])} for "
                f"{num_frames} frames."
            )
        for key, value in (source.context(storage) if source.context else {}).items():
            context[key] = _bytes([value]) if isinstance(value, bytes) else _floats([value])
        lists[source.key] = [
            _floats(frame) if source.floats else _bytes([frame]) for frame in stored[name]
        ]
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                key: tf.train.FeatureList(feature=values) for key, values in lists.items()
            }
        ),
    )
    return bytes(example.SerializeToString(deterministic=True))


def _check_shapes(record: ClipRecord) -> None:
    frames = record.frames
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise InputError(
            "frames must be uint8 [frames, height, width, 3] with at least one frame. Received: "
            f"{frames.dtype} {list(frames.shape)}."
        )
    if (record.keypoints is None) != (record.boxes is None):
        raise InputError("keypoints and boxes come together: give both or neither.")
    num_frames, height, width, _ = frames.shape
    people = 0 if record.keypoints is None else record.keypoints.shape[1]
    sizes = {"height": height, "width": width, "people": people}
    for name, value, expected in (
        ("timestamps", record.timestamps, (num_frames,)),
        ("keypoints", record.keypoints, (num_frames, people, *PERSON_SHAPE)),
        ("boxes", record.boxes, (num_frames, people, 4)),
        ("flow", record.flow, (num_frames, height, width, 2)),
        *(
            (name, value, (num_frames, *SOURCES.choose(name).frame_shape(**sizes)))
            for name, value in record.extra.items()
        ),
    ):
        if value is not None and np.shape(value) != expected:
            raise InputError(
                f"{name} must have the shape {list(expected)} to go with frames of "
                f"{list(frames.shape)}. Received: {list(np.shape(value))}."
            )


def _bytes(values: Sequence[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values: Iterable[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _floats(values: Iterable[float]) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
