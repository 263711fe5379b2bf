"""Where the generated dataset is filmed: a moving camera, a cluttered room, things passing by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.opencv import cv2
from perfnet_tf.synthetic.figure import (
    SUPERSAMPLING,
    Color,
    Picture,
    convex_hull,
    fill_polygon,
    random_color,
    shade,
)
from perfnet_tf.synthetic.motion import Array, Body

# The painted place is this much larger than the picture, so that a moving camera sees no edge.
_MARGIN = 0.3


@dataclass(frozen=True)
class Camera:
    """A pinhole camera before the person, whose picture shakes, zooms and pans.

    Attributes:
        focal: pixels (of the picture) that one metre spans at the person's place.
        distance: from the person, metres.
        center: pixel of the ground below the person's starting place.
        offset: float `[frames, 2]`, how far the picture is shifted, pixels.
        zoom: float `[frames]`.
        middle: the pixel about which it zooms.
    """

    focal: float
    distance: float
    center: tuple[float, float]
    offset: Array
    zoom: Array
    middle: tuple[float, float]

    def project(self, points: Array) -> Array:
        """Metres `[frames, 3]` to pixels `[frames, 2]` of the picture."""
        scale = self.focal * self.distance / (self.distance - points[:, 2])
        x = self.center[0] + scale * points[:, 0]
        # The eye is a little above the person's hips and looks straight ahead.
        eye = 1.0
        horizon = self.center[1] - self.focal * eye
        y = horizon - scale * (points[:, 1] - eye)
        return self.move(np.stack([x, y], axis=-1))

    def move(self, points: Array) -> Array:
        """Still-camera pixels `[frames, 2]` to those of the moving picture."""
        middle = np.asarray(self.middle)
        result: Array = (points - middle) * self.zoom[:, None] + middle + self.offset
        return result

    def matrix(self, frame: int) -> Array:
        """The 2x3 matrix of `move` at one frame."""
        zoom = self.zoom[frame]
        shift = np.asarray(self.middle) * (1 - zoom) + self.offset[frame]
        return np.array([[zoom, 0.0, shift[0]], [0.0, zoom, shift[1]]])

    @classmethod
    def draw(
        cls, rng: np.random.Generator, body: Body, num_frames: int, width: int, height: int
    ) -> Camera:
        """A random camera that keeps a standing person within a `width` x `height` picture."""
        tall = rng.uniform(0.68, 0.8) * height
        time = np.linspace(0.0, 1.0, num_frames)[:, None]
        pan = rng.normal(0.0, 0.04 * width, 2) * [1.0, 0.3] * (time - 0.5)
        shake = np.cumsum(rng.normal(0.0, 0.2, (num_frames, 2)), axis=0)
        shake -= shake.mean(axis=0)
        zoom = 1.0 + rng.normal(0.0, 0.06) * (time[:, 0] - 0.5)
        foot = rng.uniform(0.88, 0.94) * height
        return cls(
            focal=tall / body.height,
            distance=rng.uniform(3.5, 6.0),
            center=(rng.uniform(0.43, 0.57) * width, foot),
            offset=pan + shake,
            zoom=zoom,
            middle=(width / 2, height / 2),
        )


def paint_place(rng: np.random.Generator, width: int, height: int, floor: float) -> Picture:
    """Paints a cluttered room.

    Args:
        rng: draws everything.
        width, height: of the picture in pixels.
        floor: y of the floor's far edge, pixels of the picture.

    Returns:
        uint8 RGB `[(1 + 2 * margin) * height, (1 + 2 * margin) * width, 3]`.
    """
    wide, high = round(width * (1 + 2 * _MARGIN)), round(height * (1 + 2 * _MARGIN))
    edge = int(floor + _MARGIN * height)
    rows = np.linspace(0.0, 1.0, high)[:, None, None]
    columns = np.linspace(0.0, 1.0, wide)[None, :, None]
    muted = (0.03, 0.25)
    top, bottom, tint = (
        np.array(random_color(rng, (0.35, 0.9), saturation=muted)) for _ in range(3)
    )
    place = top + (bottom - top) * rows + 0.35 * (tint - top) * columns
    ground = np.array(random_color(rng, (0.3, 0.7), saturation=muted))
    place[edge:] = ground * (0.75 + 0.5 * rows[edge:])
    # Large soft blotches, then fine grain: plaster, foliage, carpet.
    for cells, strength in ((7, 12.0), (28, 6.0), (90, 4.0)):
        noise = rng.normal(0.0, strength, (cells * high // wide + 1, cells, 1)).astype(np.float32)
        place = place + cv2.resize(noise, (wide, high), interpolation=cv2.INTER_CUBIC)[..., None]
    picture = np.clip(place, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 10)):  # frames, shelves, plants, boxes
        color = random_color(rng, (0.25, 0.9), saturation=muted)
        x, y = rng.uniform(0, wide), rng.uniform(0, edge * 1.1)
        w, h = rng.uniform(0.03, 0.18) * wide, rng.uniform(0.05, 0.3) * high
        kind = rng.integers(3)
        if kind == 0:
            corner, other = (int(x), int(y)), (int(x + w), int(y + h))
            cv2.rectangle(picture, corner, other, color, -1)
            cv2.rectangle(picture, corner, other, random_color(rng), 2)
        elif kind == 1:
            axes = (int(w / 2) + 1, int(h / 2) + 1)
            turn = rng.uniform(0, 180)
            cv2.ellipse(picture, (int(x), int(y)), axes, turn, 0, 360, color, -1, cv2.LINE_AA)
        else:
            end = (int(x + rng.normal(0, w)), int(y + h))
            cv2.line(picture, (int(x), int(y)), end, color, int(rng.integers(2, 7)), cv2.LINE_AA)
    result: Picture = picture
    return result


def show_place(place: Picture, camera: Camera, frame: int, width: int, height: int) -> Picture:
    """What the camera sees of the place in one frame, on a canvas for the figures."""
    matrix = camera.matrix(frame)
    matrix[:, 2] -= matrix[:, :2] @ [_MARGIN * width, _MARGIN * height]
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    canvas = np.empty((size[1], size[0], 3), np.uint8)
    cv2.warpAffine(
        place, matrix * SUPERSAMPLING, size, canvas, cv2.INTER_LINEAR, cv2.BORDER_REFLECT
    )
    return canvas


@dataclass(frozen=True)
class Passer:
    """A thing that moves through the picture: a ball, a box, a leaf of paper.

    Attributes:
        start, velocity: pixels and pixels per second.
        size: half width and half height in pixels.
        corners: of its polygon; many make it round.
        spin: radians per second.
        bounce: height of its hops, pixels.
        color: RGB.
        in_front: of the person, else behind.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    size: tuple[float, float]
    corners: int
    spin: float
    bounce: float
    color: Color
    in_front: bool

    @classmethod
    def draw(cls, rng: np.random.Generator, width: int, height: int, *, in_front: bool) -> Passer:
        """A random thing; small if it passes in front of the person."""
        size = rng.uniform(0.02, 0.04 if in_front else 0.1, 2) * height
        return cls(
            start=(rng.uniform(0, width), rng.uniform(0.1, 0.9) * height),
            velocity=(rng.normal(0, 0.25 * width), rng.normal(0, 0.08 * height)),
            size=(float(size[0]), float(size[1])),
            corners=int(rng.choice((3, 4, 5, 16))),
            spin=rng.normal(0, 2.0),
            bounce=float(rng.choice((0.0, 0.15 * height))),
            color=random_color(rng),
            in_front=in_front,
        )

    def paint(self, canvas: Picture, seconds: float, matrix: Array) -> None:
        """Paints it where it is at a moment, seen by the camera (`Camera.matrix`)."""
        x, y = (s + v * seconds for s, v in zip(self.start, self.velocity, strict=True))
        y -= self.bounce * abs(np.sin(4.0 * seconds))
        angle = np.linspace(0, 2 * np.pi, self.corners + 1)[:-1]
        shape = np.stack([np.cos(angle) * self.size[0], np.sin(angle) * self.size[1]], axis=-1)
        turn = self.spin * seconds
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        points = shape @ rotation + [x, y]
        fill_polygon(canvas, points @ matrix[:, :2].T + matrix[:, 2], self.color)


def paint_shadow(canvas: Picture, center: Array, radii: tuple[float, float]) -> None:
    """Darkens the floor under a person; pixels of the picture."""
    layer = canvas.copy()
    where = tuple(int(round(c * SUPERSAMPLING)) for c in center)
    axes = (int(radii[0] * SUPERSAMPLING) + 1, int(radii[1] * SUPERSAMPLING) + 1)
    cv2.ellipse(layer, where, axes, 0, 0, 360, (20, 20, 24), -1, cv2.LINE_AA)
    cv2.addWeighted(layer, 0.4, canvas, 0.6, 0.0, dst=canvas)


def paint_stool(
    canvas: Picture,
    seat: Sequence[Array],
    floor: Sequence[Array],
    color: Color,
) -> None:
    """A stool: its seat's four corners and, below each, a leg; pixels, back corners first."""
    dark = shade(color, 0.6)
    scale = float(np.linalg.norm(seat[1] - seat[0]) + np.linalg.norm(seat[3] - seat[0]))
    leg = max(0.03 * scale, 0.6)
    for top, foot in zip(seat, floor, strict=True):
        across = np.array([leg, 0.0])
        fill_polygon(
            canvas, np.stack([top - across, top + across, foot + across, foot - across]), dark
        )
    corners = np.stack(seat)
    thickness = np.array([0.0, 0.06 * scale])
    slab = np.concatenate([corners, corners + thickness])
    fill_polygon(canvas, convex_hull(slab), dark)
    fill_polygon(canvas, convex_hull(corners), color)
