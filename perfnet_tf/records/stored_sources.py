"""Sources as bytes or numbers in a record, and back: what the entries of `streams.SOURCES` use."""

from __future__ import annotations

import zlib

import numpy as np
import tensorflow as tf

from perfnet_tf.flow.encoding import decode_flow, encode_flow
from perfnet_tf.records import schema
from perfnet_tf.streams import Source, Storage

#: The pixels of every other reader, such as OpenCV and Pillow. TensorFlow's own choice is up to 19
#: steps off (1.2 on average), for a hundredth of the time that reading takes.
_EXACT = "INTEGER_ACCURATE"

#: Pixels around a part of a JPEG that affect the colours at its edge.
_COLOR_MARGIN = 2


def encode_rgb(frames: np.ndarray, storage: Storage | None = None) -> list[bytes]:
    """uint8 RGB `[frames, height, width, 3]` as JPEG."""
    return [tf.io.encode_jpeg(frame, quality=schema.JPEG_QUALITY).numpy() for frame in frames]


def encode_flow_maps(flow: np.ndarray, storage: Storage) -> list[bytes]:
    """Flow as one PNG per frame; see `flow.encoding.encode_flow`."""
    return encode_flow(flow, storage.flow_bound)


def encode_people(values: np.ndarray, storage: Storage) -> list[np.ndarray]:
    """Keypoints or boxes `[frames, people, ...]` as `max_people` people of numbers per frame."""
    return [frame.ravel() for frame in pad_people(values, storage.max_people)]


def pad_people(values: np.ndarray, max_people: int) -> np.ndarray:
    """Cuts or pads with zeros the people axis of `[frames, people, ...]` to `max_people`."""
    values = np.asarray(values, np.float32)[:, :max_people]
    missing = max_people - values.shape[1]
    return np.pad(values, [(0, 0), (0, missing)] + [(0, 0)] * (values.ndim - 2))


def encode_maps(values: np.ndarray, storage: Storage) -> list[bytes]:
    """Each frame `[height, width, channels]` without loss: a serialized tensor, compressed."""
    return [zlib.compress(tf.io.serialize_tensor(frame).numpy()) for frame in values]


def decode_maps(stored: tf.Tensor, source: Source) -> tf.Tensor:
    """The inverse of `encode_maps`, a graph function: string `[frames]` to `[frames, *shape]`.

    Frames that would take more than `schema.MAX_CLIP_BYTES` are an `InvalidArgumentError`.
    """
    dtype = tf.as_dtype(source.dtype)
    shape = source.frame_shape()

    def decode(frame: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(
            tf.io.parse_tensor(tf.io.decode_compressed(frame, "ZLIB"), dtype), shape
        )

    first = tf.shape(decode(stored[0]), tf.int64)
    fits = tf.reduce_prod(first) * tf.size(stored, tf.int64) * dtype.size <= schema.MAX_CLIP_BYTES
    message = f"Frames of a clip must take {schema.MAX_CLIP_BYTES} bytes at most."
    with tf.control_dependencies([tf.debugging.Assert(fits, [message, first])]):
        stored = tf.identity(stored)
    return tf.map_fn(decode, stored, fn_output_signature=tf.TensorSpec(shape, dtype))


def decode_rgb(
    encoded: tf.Tensor, storage: Storage | None = None, window: tf.Tensor | None = None
) -> tf.Tensor:
    """See `decode_frames`."""
    return decode_frames(encoded, window)


def decode_flow_maps(encoded: tf.Tensor, storage: Storage) -> tf.Tensor:
    """See `decode_flow_frames`."""
    return decode_flow_frames(encoded, storage.flow_bound)


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
        frames = tf.map_fn(_decode_image, encoded, fn_output_signature=spec)
        if window is None:
            return frames
        top, left, height, width = tf.unstack(window)
        return frames[:, top : top + height, left : left + width]
    # The loop of `map_fn` takes a twentieth of what decoding takes.
    images = tf.unstack(encoded)
    if window is None:
        return tf.stack([_decode_image(image) for image in images])
    shapes = tf.stack([tf.io.extract_jpeg_shape(image) for image in images])
    alike = tf.reduce_all(shapes == shapes[:1])
    check = tf.debugging.Assert(alike, ["Frames of a clip must be of one size:", shapes])
    with tf.control_dependencies([check]):
        return tf.stack(_decode_parts(images, window, shapes[0, :2]))


def _decode_image(image: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(image, channels=3, dct_method=_EXACT)


def _decode_parts(images: list[tf.Tensor], window: tf.Tensor, sides: tf.Tensor) -> list[tf.Tensor]:
    """The window of each image; pixels outside are decoded only as far as necessary."""
    first, size = window[:2], window[2:]
    # Colour is stored at half the resolution: the pixels at the edge depend on their neighbours.
    begin = tf.maximum(first - _COLOR_MARGIN, 0)
    end = tf.minimum(first + size + _COLOR_MARGIN, sides)
    wide = tf.concat([begin, end - begin], 0)
    top, left = tf.unstack(first - begin)
    height, width = tf.unstack(size)
    # Each is cut while the processor has it at hand.
    return [
        tf.io.decode_and_crop_jpeg(image, wide, channels=3, dct_method=_EXACT)[
            top : top + height, left : left + width
        ]
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
