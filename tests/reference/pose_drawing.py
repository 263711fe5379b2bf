"""Slow, obvious drawings of people: one pixel rule in float64, and OpenCV on a fine canvas."""

from __future__ import annotations

import cv2
import numpy as np

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.pose.skeleton import KEYPOINT_LIMBS, LIMBS, limb_colors


def markers(person, box, height, width, config):
    """Yields (start, end, thickness, color) in drawing order; points in pixels of the frame."""
    colors = limb_colors(config.num_colors)
    size = np.array([width, height], np.float64)
    side = max((box[2:] - box[:2]) * size) if config.ratio_aware else min(size)
    thickness = max(1.0, config.thickness * side)
    places = {
        k: person[k, :2] * size - 0.5
        for k in range(17)
        if person[k, 2] >= config.min_score and np.isfinite(person[k]).all()
    }
    if config.marker == "dot":
        for k in sorted(places):
            yield places[k], places[k], thickness, colors[KEYPOINT_LIMBS[k]]
        return
    for extra, members in ((17, (5, 6)), (18, range(5))):
        seen = [places[k] for k in members if k in places]
        if seen:
            places[extra] = np.mean(seen, axis=0)
    for (start, end), color in zip(LIMBS, colors, strict=True):
        if start in places and end in places:
            yield places[start], places[end], thickness, color


def draw_exactly(frame, people, boxes, config: PoseRenderConfig) -> np.ndarray:
    """Asks of every pixel centre whether it lies within half a thickness of the segment."""
    height, width = frame.shape[:2]
    image = np.array(frame if config.background == "rgb" else np.zeros_like(frame))
    centres = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(float)
    for person, box in list(zip(people, boxes, strict=True))[::-1]:
        for start, end, thickness, color in markers(person, box, height, width, config):
            vector = end - start
            share = ((centres - start) @ vector) / max(vector @ vector, 1e-12)
            nearest = start + np.clip(share, 0, 1)[..., None] * vector
            inside = np.linalg.norm(centres - nearest, axis=-1) <= thickness / 2
            image[inside] = color
    return image


def draw_with_opencv(frame, people, boxes, config, fine: int = 15) -> np.ndarray:
    """Draws with cv2 on a canvas `fine` times as large and reads it at the pixel centres.

    At the frame's own size cv2's lines of odd thickness are 1 to 1.5 px too wide; on the fine
    canvas that error shrinks by `fine`, which is odd so that a fine pixel lies on each centre.
    """
    height, width = frame.shape[:2]
    canvas = np.full((height * fine, width * fine, 3), -1, np.int16)

    def place(point):
        return tuple(int(round(v)) for v in ((point + 0.5) * fine - 0.5) * 16)

    for person, box in list(zip(people, boxes, strict=True))[::-1]:
        for start, end, thickness, color in markers(person, box, height, width, config):
            if config.marker == "dot":
                radius = int(round(thickness / 2 * fine * 16))
                cv2.circle(canvas, place(start), radius, color, -1, cv2.LINE_8, 4)
            else:
                thick = int(round(thickness * fine))
                cv2.line(canvas, place(start), place(end), color, thick, cv2.LINE_8, 4)
    drawn = canvas[fine // 2 :: fine, fine // 2 :: fine]
    background = frame if config.background == "rgb" else np.zeros_like(frame)
    return np.where(drawn < 0, background, drawn).astype(np.uint8)
