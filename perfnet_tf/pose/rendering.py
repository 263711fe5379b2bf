"""Draws people on frames: the pose stream, all variants of PERF-Net Table 2, on any device.

Shapes are static, so that it compiles under XLA and runs where the network runs, after crop,
resize and mirroring. Each marker is a run of pixels a row (`pose.row_spans`); runs are painted into
one map of palette entries, in one byte a pixel, which colours the frames at the end.

What is drawn:
  - A keypoint is visible when its score is above 0 and reaches `min_score`, and its place is a
    finite number. A limb needs both of its ends, a dot its keypoint; neck and head
    (`pose.skeleton`) are the mean of their visible keypoints.
  - A bar covers the pixels whose centre is within half a thickness of the segment, that is, a
    segment with round ends; a dot those within half a thickness of the keypoint. Colours are exact:
    there is no anti-aliasing.
  - Order: people from last to first, so that the best (first) is on top; limbs in `LIMBS` order,
    dots in `KEYPOINT_NAMES` order, later over earlier.
  - Point x, in [0, 1] of the frame, is at pixel coordinate `x * width - 0.5`, where whole numbers
    are pixel centres. Points outside the frame are welcome.

Source: PERF-Net Sec. 3.1; geometry and colours are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.pose.row_spans import row_spans
from perfnet_tf.pose.skeleton import (
    HEAD_KEYPOINTS,
    KEYPOINT_LIMBS,
    LIMBS,
    NECK_KEYPOINTS,
    limb_colors,
)
from perfnet_tf.streams import NUM_KEYPOINTS

# Keypoints further out than this many pixels are drawn as if they were there: far lines keep their
# direction well within a pixel, and squares of lengths stay finite.
_FARTHEST = 2.0**16


def render_pose(
    frames: Any, keypoints: Any, boxes: Any, config: PoseRenderConfig | None = None
) -> tf.Tensor:
    """Draws the people of each frame.

    Args:
        frames: uint8 RGB `[..., frames, height, width, 3]`.
        keypoints: float32 `[..., frames, people, 17, 3]`: x, y in [0, 1] of the frame, score.
        boxes: float32 `[..., frames, people, 4]`: x_min, y_min, x_max, y_max in [0, 1] of the
            frame; read only when `config.ratio_aware`.
        config: what to draw and how; None takes the defaults.

    Returns:
        uint8, the shape of `frames`.

    Raises:
        ValueError: shapes or dtypes differ from the above.
    """
    config = config or PoseRenderConfig()
    frames = tf.convert_to_tensor(frames)
    keypoints = tf.convert_to_tensor(keypoints, tf.float32)
    boxes = tf.convert_to_tensor(boxes, tf.float32)
    _check(frames, keypoints, boxes)
    num_people = tf.shape(keypoints)[-3]
    shape = tf.shape(frames)
    height, width = shape[-3], shape[-2]
    size = tf.cast(tf.stack([width, height]), tf.float32)
    # [frames, people, 17, 3] and [frames, people, 4]: leading dimensions folded into frames.
    num_frames = tf.reduce_prod(shape[:-3])
    keypoints = tf.reshape(keypoints, [num_frames, num_people, NUM_KEYPOINTS, 3])
    boxes = tf.reshape(boxes, [num_frames, num_people, 4])

    points = keypoints[..., :2] * size - 0.5
    scores = keypoints[..., 2]
    visible = (scores >= config.min_score) & (scores > 0)  # 0 marks the absent
    visible &= tf.reduce_all(tf.math.is_finite(points), axis=-1)
    points = tf.where(visible[..., None], tf.clip_by_value(points, -_FARTHEST, _FARTHEST), 0.0)
    radius = _thickness(boxes, size, config) / 2.0  # [frames, people]
    starts, ends, drawn, colors = _markers(points, visible, config)
    radii = tf.where(drawn, radius[..., None], -1.0)  # [frames, people, markers]

    first, count = row_spans(starts, ends, radii, height, width)
    palette = list(dict.fromkeys(colors))
    entries = [palette.index(color) + 1 for color in colors]
    paint = _paint(first, count, entries, width, frames.shape[-2])  # [frames, height, width]
    paint = tf.reshape(paint, shape[:-1])[..., None]
    result = frames if config.background == "rgb" else tf.zeros_like(frames)
    # One pass at the speed of memory under XLA; looking colours up in a table takes twice as long.
    for entry, color in enumerate(palette, start=1):
        result = tf.where(paint == entry, tf.constant(color, tf.uint8), result)
    result.set_shape(frames.shape)
    return result


def _check(frames: tf.Tensor, keypoints: tf.Tensor, boxes: tf.Tensor) -> None:
    leading = frames.shape[:-3]
    if (
        frames.dtype != tf.uint8
        or frames.shape.rank is None
        or frames.shape.rank < 4
        or frames.shape[-1] != 3
        or not keypoints.shape.is_compatible_with([*leading, None, NUM_KEYPOINTS, 3])
        or not boxes.shape.is_compatible_with([*keypoints.shape[:-2], 4])
    ):
        raise ValueError(
            "render_pose takes uint8 frames [..., frames, height, width, 3], keypoints "
            "[..., frames, people, 17, 3] and boxes [..., frames, people, 4]. Received: "
            f"{frames.dtype.name} {frames.shape}, {keypoints.shape} and {boxes.shape}."
        )


def _thickness(boxes: tf.Tensor, size: tf.Tensor, config: PoseRenderConfig) -> tf.Tensor:
    """Thickness in pixels `[frames, people]`, at least 1."""
    if config.ratio_aware:
        length = tf.reduce_max((boxes[..., 2:] - boxes[..., :2]) * size, axis=-1)
        length = tf.where(tf.math.is_finite(length), length, 0.0)
    else:
        length = tf.fill(tf.shape(boxes)[:2], tf.reduce_min(size))
    return tf.maximum(config.thickness * length, 1.0)


def _markers(
    points: tf.Tensor, visible: tf.Tensor, config: PoseRenderConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, list[tuple[int, int, int]]]:
    """What is drawn for each person, in drawing order; a dot is a segment without length.

    Returns:
        starts, ends: float32 `[frames, people, markers, 2]`, pixels.
        drawn: bool `[frames, people, markers]`.
        colors: RGB of each marker.
    """
    colors = limb_colors(config.num_colors)
    if config.marker == "dot":
        return points, points, visible, [colors[limb] for limb in KEYPOINT_LIMBS]
    points, visible = _with_neck_and_head(points, visible)
    first, second = (list(ends) for ends in zip(*LIMBS, strict=True))
    drawn = tf.gather(visible, first, axis=2) & tf.gather(visible, second, axis=2)
    return tf.gather(points, first, axis=2), tf.gather(points, second, axis=2), drawn, list(colors)


def _with_neck_and_head(points: tf.Tensor, visible: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Appends `NECK` and `HEAD` to the keypoints, each the mean of its visible ones."""
    for group in (NECK_KEYPOINTS, HEAD_KEYPOINTS):
        weights = tf.cast(tf.gather(visible, group, axis=2), tf.float32)  # [frames, people, group]
        members = tf.gather(points, group, axis=2)
        count = tf.reduce_sum(weights, axis=2, keepdims=True)
        mean = tf.reduce_sum(members * weights[..., None], axis=2) / tf.maximum(count, 1.0)
        points = tf.concat([points, mean[:, :, None]], axis=2)
        visible = tf.concat([visible, count > 0], axis=2)
    return points, visible


def _paint(
    first: tf.Tensor,
    count: tf.Tensor,
    entries: Sequence[int],
    width: tf.Tensor,
    static_width: int | None,
) -> tf.Tensor:
    """Paints runs of pixels over each other: people from last to first, markers in order.

    Args:
        first, count: int32 `[frames, people, markers, height]`, of `row_spans`.
        entries: of each marker, 1 to 255.
        width, static_width: of the frames.

    Returns:
        uint8 `[frames, height, width]`: the entry of the topmost marker, 0 where there is none.
    """
    # The narrower the numbers, the more pixels a processor paints at once.
    dtype = tf.uint8 if static_width is not None and static_width < 256 else tf.uint16
    num_people = tf.shape(first)[1]
    anyone = tf.reduce_any(count > 0, axis=[0, 2, 3])  # [people]
    used = tf.reduce_max(tf.where(anyone, tf.range(1, num_people + 1), 0))
    columns = tf.cast(tf.range(width), dtype)
    # [people, markers, frames, height]
    first, count = (tf.cast(tf.transpose(x, [1, 2, 0, 3]), dtype) for x in (first, count))
    num_frames, height = tf.shape(first)[2], tf.shape(first)[3]

    def paint_person(
        left: tf.Tensor, paint: tf.Tensor, first: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        paint = paint[:, :, :-1]
        for marker, entry in enumerate(entries):
            # Unsigned: a column before the first one is a large number.
            offset = columns - first[left - 1, marker][..., None]
            inside = offset < count[left - 1, marker][..., None]
            paint = tf.where(inside, tf.constant(entry, tf.uint8), paint)
        return left - 1, tf.pad(paint, [[0, 0], [0, 0], [0, 1]]), first, count

    # A loop computes the runs once and leaves out places that nobody takes. The column too many
    # keeps XLA on CPUs from painting in place, where it would give up painting many pixels at once.
    _, paint, _, _ = tf.while_loop(
        lambda left, *_: left > 0,
        paint_person,
        (used, tf.zeros([num_frames, height, width + 1], tf.uint8), first, count),
        shape_invariants=(
            tf.TensorShape([]),
            tf.TensorShape([None, None, None]),
            first.shape,
            count.shape,
        ),
    )
    return paint[:, :, :-1]
