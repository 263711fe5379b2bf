"""How each source is resized, cropped and mirrored: what the entries of `streams.SOURCES` use.

Everything here is a graph function for `tf.data`.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from perfnet_tf.pose.skeleton import MIRRORED_KEYPOINTS


class Placement(NamedTuple):
    """A crop of resized frames.

    Attributes:
        stored: int32 `[2]`, height and width of the frames before.
        resized: int32 `[2]`, after resizing.
        corner: int32 `[2]`, top and left of the crop in the resized frame.
        crop_size: int32 `[2]`, a constant.
    """

    stored: tf.Tensor
    resized: tf.Tensor
    corner: tf.Tensor
    crop_size: tf.Tensor

    @property
    def scale(self) -> tf.Tensor:
        """float32 `[2]`: what heights and widths are multiplied by."""
        return tf.cast(self.resized, tf.float32) / tf.cast(self.stored, tf.float32)

    @property
    def fractions(self) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 `[2]` each, x first: a point p of the frame is at p * ratio - shift of the crop.

        p is a fraction of the frame, the result of the crop.
        """
        # A point at x of the frame is at x * resized - corner pixels of the crop.
        ratio, shift = (
            tf.cast(v / self.crop_size, tf.float32)[::-1] for v in (self.resized, self.corner)
        )
        return ratio, shift


def cut_map(frames: tf.Tensor, place: Placement) -> tf.Tensor:
    """The crop of resized frames `[frames, height, width, channels]`, uint8 or float32."""
    return _resize_and_crop(frames, place.scale, place.corner, place.crop_size)


def cut_flow(flow: tf.Tensor, place: Placement) -> tf.Tensor:
    """The crop of resized flow `[frames, height, width, 2]`, in pixels of the resized frame."""
    # dx by the width's ratio, dy by the height's
    return cut_map(flow, place) * tf.reverse(place.scale, [0])


def cut_keypoints(keypoints: tf.Tensor, place: Placement) -> tf.Tensor:
    """Keypoints `[..., 17, 3]` as fractions of the crop, not clipped to it."""
    return _move_keypoints(keypoints, *place.fractions)


def cut_boxes(boxes: tf.Tensor, place: Placement) -> tf.Tensor:
    """Boxes `[..., 4]` as fractions of the crop, not clipped to it."""
    return _move_boxes(boxes, *place.fractions)


def mirror_map(frames: tf.Tensor) -> tf.Tensor:
    """Frames `[..., width, channels]` of the mirrored clip: columns reversed."""
    return tf.reverse(frames, [-2])


def mirror_flow(flow: tf.Tensor) -> tf.Tensor:
    """Flow `[..., width, 2]` of the mirrored clip: columns reversed, dx negated."""
    return tf.reverse(flow, [-2]) * tf.constant([-1.0, 1.0])


def mirror_keypoints(keypoints: tf.Tensor) -> tf.Tensor:
    """Keypoints `[..., 17, 3]` of the mirrored clip: x turned round, left and right exchanged."""
    x, y, score = tf.unstack(tf.gather(keypoints, MIRRORED_KEYPOINTS, axis=-2), axis=-1)
    return tf.stack([tf.where(score > 0, 1.0 - x, 0.0), y, score], axis=-1)


def mirror_boxes(boxes: tf.Tensor) -> tf.Tensor:
    """Boxes `[..., 4]` of the mirrored clip."""
    x_min, y_min, x_max, y_max = tf.unstack(boxes, axis=-1)
    mirrored = tf.stack([1.0 - x_max, y_min, 1.0 - x_min, y_max], axis=-1)
    return tf.where(_present(boxes), mirrored, 0.0)


def _resize_and_crop(
    frames: tf.Tensor, scale: tf.Tensor, corner: tf.Tensor, crop_size: tf.Tensor
) -> tf.Tensor:
    """The crop of the resized frames, without resizing the rest.

    uint8 or float32 [frames, height, width, channels], and so is the result.
    """

    def crop() -> tf.Tensor:
        # Of frames that are the crop already, nothing is left to cut off.
        begin = tf.concat([[0], tf.minimum(corner, tf.shape(frames)[1:3] - crop_size), [0]], 0)
        return tf.slice(frames, begin, tf.concat([[-1], crop_size, [-1]], 0))

    def resize() -> tf.Tensor:
        resized = tf.raw_ops.ScaleAndTranslate(
            images=frames,
            size=crop_size,
            scale=scale,
            translation=-tf.cast(corner, tf.float32),
            kernel_type="triangle",
            antialias=True,
        )
        return to_levels(resized) if frames.dtype == tf.uint8 else resized

    result = tf.cond(tf.reduce_all(scale == 1.0), crop, resize)
    height, width = tf.get_static_value(crop_size)
    return tf.ensure_shape(result, [frames.shape[0], height, width, frames.shape[3]])


def _move_keypoints(keypoints: tf.Tensor, ratio: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    points, score = keypoints[..., :2], keypoints[..., 2:]
    moved = tf.where(score > 0, points * ratio - shift, 0.0)
    return tf.concat([moved, score], axis=-1)


def _move_boxes(boxes: tf.Tensor, ratio: tf.Tensor, shift: tf.Tensor) -> tf.Tensor:
    moved = boxes * tf.tile(ratio, [2]) - tf.tile(shift, [2])
    return tf.where(_present(boxes), moved, 0.0)


def to_levels(values: tf.Tensor) -> tf.Tensor:
    """Rounds float levels to uint8."""
    # By way of int32: compilers have instructions for it that round to uint8 lacks.
    return tf.cast(tf.cast(tf.clip_by_value(values + 0.5, 0.0, 255.0), tf.int32), tf.uint8)


def _present(boxes: tf.Tensor) -> tf.Tensor:
    """Absent people have boxes of zeros: bool [..., 1]."""
    return tf.reduce_any(boxes != 0.0, axis=-1, keepdims=True)
