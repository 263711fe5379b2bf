"""Draws people on frames: the pose stream, all variants of PERF-Net Table 2, on any device.

Everything is arithmetic on whole frames with static shapes, so that it compiles under XLA and runs
where the network runs, after crop, resize and mirroring.

What is drawn:
  - A keypoint is visible when its score is above 0 and reaches `min_score`, and its place is a
    finite number. A limb needs both of its ends, a dot its keypoint; neck and head
    (`pose.skeleton`) are the mean of their visible keypoints.
  - A bar covers the pixels whose centre lies within half a thickness of the segment, that is, a
    segment with round ends; a dot those within half a thickness of the keypoint. Colours are exact:
    there is no anti-aliasing.
  - Order: people from last to first, so that the best (first) is on top; limbs in `LIMBS` order,
    dots in `KEYPOINT_NAMES` order, later over earlier.
  - Point x, in [0, 1] of the frame, lies at pixel coordinate `x * width - 0.5`, where whole numbers
    are pixel centres. Points outside the frame are welcome.

Source: PERF-Net Sec. 3.1; geometry and colours are our choice.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.pose.skeleton import (
    HEAD_KEYPOINTS,
    KEYPOINT_LIMBS,
    LIMBS,
    NECK_KEYPOINTS,
    NUM_KEYPOINTS,
    limb_colors,
)

#: Marks pixels on which nothing is drawn, in the map of packed colours.
_NOTHING = -1


def render_pose(
    frames: Any, keypoints: Any, boxes: Any, config: PoseRenderConfig | None = None
) -> tf.Tensor:
    """Draws the people of each frame.

    Args:
        frames: uint8 RGB `[..., frames, height, width, 3]`.
        keypoints: float32 `[..., frames, people, 17, 3]`: x, y in [0, 1] of the frame, score. The
            number of people is static.
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
    num_people = keypoints.shape[-3]
    shape = tf.shape(frames)
    height, width = shape[-3], shape[-2]
    size = tf.cast(tf.stack([width, height]), tf.float32)
    # [frames, people, 17, 3] and [frames, people, 4]: leading dimensions folded into frames.
    keypoints = tf.reshape(keypoints, [-1, num_people, NUM_KEYPOINTS, 3])
    boxes = tf.reshape(boxes, [-1, num_people, 4])

    points = keypoints[..., :2] * size - 0.5
    scores = keypoints[..., 2]
    visible = (scores >= config.min_score) & (scores > 0)  # 0 marks the absent
    visible &= tf.reduce_all(tf.math.is_finite(points), axis=-1)
    points = tf.where(visible[..., None], points, 0.0)
    radius = _thickness(boxes, size, config) / 2.0  # [frames, people]
    starts, ends, drawn, colors = _markers(points, visible, config)

    xs = tf.range(tf.cast(width, tf.float32), dtype=tf.float32)[None, None, :]
    ys = tf.range(tf.cast(height, tf.float32), dtype=tf.float32)[None, :, None]
    paint = tf.fill([tf.shape(keypoints)[0], height, width], _NOTHING)
    for person in reversed(range(num_people)):
        for marker, color in enumerate(colors):
            inside = _within(
                xs,
                ys,
                starts[:, person, marker],
                ends[:, person, marker],
                tf.where(drawn[:, person, marker], radius[:, person], -1.0),
            )
            paint = tf.where(inside, color[0] << 16 | color[1] << 8 | color[2], paint)

    paint = tf.reshape(paint, shape[:-1])[..., None]
    channels = tf.bitwise.right_shift(paint, tf.constant([16, 8, 0]))  # [..., height, width, 3]
    drawing = tf.cast(tf.bitwise.bitwise_and(channels, 255), tf.uint8)
    background = frames if config.background == "rgb" else tf.zeros_like(frames)
    result = tf.where(paint == _NOTHING, background, drawing)
    result.set_shape(frames.shape)
    return result


def _check(frames: tf.Tensor, keypoints: tf.Tensor, boxes: tf.Tensor) -> None:
    leading = frames.shape[:-3]
    people = keypoints.shape[-3] if keypoints.shape.rank and keypoints.shape.rank > 2 else None
    if (
        frames.dtype != tf.uint8
        or frames.shape.rank is None
        or frames.shape.rank < 4
        or frames.shape[-1] != 3
        or people is None
        or not keypoints.shape.is_compatible_with([*leading, people, NUM_KEYPOINTS, 3])
        or not boxes.shape.is_compatible_with([*leading, people, 4])
    ):
        raise ValueError(
            "render_pose takes uint8 frames [..., frames, height, width, 3], keypoints "
            "[..., frames, people, 17, 3] with a static number of people and boxes "
            f"[..., frames, people, 4]. Received: {frames.dtype.name} {frames.shape}, "
            f"{keypoints.shape} and {boxes.shape}."
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


def _within(
    xs: tf.Tensor, ys: tf.Tensor, start: tf.Tensor, end: tf.Tensor, radius: tf.Tensor
) -> tf.Tensor:
    """Which pixel centres lie within `radius` of a segment; none where `radius` is negative.

    Args:
        xs: `[1, 1, width]`.
        ys: `[1, height, 1]`.
        start, end: `[frames, 2]`, pixels.
        radius: `[frames]`, pixels.

    Returns:
        bool `[frames, height, width]`.
    """
    vector = end - start
    length = tf.norm(vector, axis=-1, keepdims=True)
    long_enough = length > 1e-3
    # A point has no direction; any serves.
    direction = tf.where(
        long_enough, vector / tf.where(long_enough, length, 1.0), tf.constant([1.0, 0.0])
    )
    length = tf.where(long_enough, length, 0.0)[:, :, None]
    x, y = xs - start[:, 0, None, None], ys - start[:, 1, None, None]
    dx, dy = direction[:, 0, None, None], direction[:, 1, None, None]
    along = x * dx + y * dy  # [frames, height, width], from here on
    beyond = along - tf.clip_by_value(along, 0.0, length)
    beside = x * dy - y * dx
    limit = tf.where(radius < 0, -1.0, radius * radius)[:, None, None]
    return beyond * beyond + beside * beside <= limit
