"""A clip as the bytes of one `tf.train.SequenceExample`; `records.schema` documents the keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import encode_flow
from perfnet_tf.records import schema
from perfnet_tf.records.schema import ClipRecord


def encode_clip(
    record: ClipRecord,
    *,
    max_people: int,
    flow_bound: float,
    frame_images: Sequence[bytes] | None = None,
    flow_images: Sequence[bytes] | None = None,
) -> bytes:
    """Serializes a clip.

    Args:
        record: the clip.
        max_people: people stored a frame: fewer are padded with zeros, more are cut off (the
            estimators sort by score).
        flow_bound: pixels a frame that the largest quantised flow stands for.
        frame_images: `record.frames` as `encode_frames` gives them, where they are known.
        flow_images: the flow as `encode_flow` gives it, in place of `record.flow`: float flow of a
            long clip is large.

    Returns:
        A serialized SequenceExample; bit for bit the same for the same record.

    Raises:
        InputError: shapes that do not belong together.
    """
    _check_shapes(record)
    if frame_images is None:
        frame_images = encode_frames(record.frames)
    num_frames, height, width, channels = record.frames.shape
    context = {
        schema.MEDIA_ID_KEY: _bytes([record.clip_id.encode()]),
        schema.LABEL_KEY: _ints([record.label]),
        schema.LABEL_TEXT_KEY: _bytes([record.label_name.encode()]),
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
        schema.ENCODED_KEY: [_bytes([image]) for image in frame_images],
        schema.TIMESTAMP_KEY: [_ints([timestamp]) for timestamp in microseconds],
    }
    if record.group is not None:
        context[schema.GROUP_KEY] = _bytes([record.group.encode()])
    if flow_images is None and record.flow is not None:
        flow_images = encode_flow(record.flow, flow_bound)
    for name, images in (("frame", frame_images), ("flow", flow_images)):
        if images is not None and len(images) != num_frames:
            raise InputError(
                f"There must be one {name} image a frame. Received: {len(images)} for "
                f"{num_frames} frames."
            )
    if flow_images is not None:
        context[schema.FLOW_FORMAT_KEY] = _bytes([b"PNG"])
        context[schema.FLOW_BOUND_KEY] = _floats([flow_bound])
        lists[schema.FLOW_ENCODED_KEY] = [_bytes([image]) for image in flow_images]
    if record.keypoints is not None and record.boxes is not None:
        for key, values in (
            (schema.KEYPOINTS_KEY, record.keypoints),
            (schema.BOXES_KEY, record.boxes),
        ):
            lists[key] = [_floats(frame.ravel()) for frame in pad_people(values, max_people)]
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(
            feature_list={
                key: tf.train.FeatureList(feature=values) for key, values in lists.items()
            }
        ),
    )
    return example.SerializeToString(deterministic=True)


def encode_frames(frames: np.ndarray) -> list[bytes]:
    """uint8 RGB `[frames, height, width, 3]` as JPEG."""
    return [tf.io.encode_jpeg(frame, quality=schema.JPEG_QUALITY).numpy() for frame in frames]


def pad_people(values: np.ndarray, max_people: int) -> np.ndarray:
    """Cuts or pads with zeros the people axis of `[frames, people, ...]` to `max_people`."""
    values = np.asarray(values, np.float32)[:, :max_people]
    missing = max_people - values.shape[1]
    return np.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))


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
    for name, value, expected in (
        ("timestamps", record.timestamps, (num_frames,)),
        ("keypoints", record.keypoints, (num_frames, people, 17, 3)),
        ("boxes", record.boxes, (num_frames, people, 4)),
        ("flow", record.flow, (num_frames, height, width, 2)),
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
