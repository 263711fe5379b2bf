"""Where the generated dataset is filmed: a moving camera and a cluttered room."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from perfnet_tf.synthetic.figure import SUPERSAMPLING, Image, random_color
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
    def sample(
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


def paint_place(rng: np.random.Generator, width: int, height: int, floor: float) -> Image:
    """Paints a cluttered room.

    Args:
        rng: source of randomness.
        width, height: of the picture in pixels.
        floor: y of the floor's far edge, pixels of the picture.

    Returns:
        uint8 RGB `[(1 + 2 * margin) * height, (1 + 2 * margin) * width, 3]`.
    """
    wide, high = round(width * (1 + 2 * _MARGIN)), round(height * (1 + 2 * _MARGIN))
    edge = int(floor + _MARGIN * height)
    rows = np.linspace(0.0, 1.0, high)[:, None, None]
    muted = (0.03, 0.25)
    top, bottom = (np.array(random_color(rng, (0.35, 0.9), saturation=muted)) for _ in range(2))
    place = top + (bottom - top) * rows
    ground = np.array(random_color(rng, (0.3, 0.7), saturation=muted))
    place[edge:] = ground * (0.75 + 0.5 * rows[edge:])
    # Large soft blotches, then fine grain: plaster, foliage, carpet.
    for cells, strength in ((7, 12.0), (28, 6.0), (90, 4.0)):
        noise = rng.normal(0.0, strength, (cells * high // wide + 1, cells, 1)).astype(np.float32)
        place = place + cv2.resize(noise, (wide, high), interpolation=cv2.INTER_CUBIC)[..., None]
    picture = np.clip(place, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(3, 10)):  # shelves, plants, boxes
        color = random_color(rng, (0.25, 0.9), saturation=muted)
        x, y = rng.uniform(0, wide), rng.uniform(0, edge * 1.1)
        w, h = rng.uniform(0.03, 0.18) * wide, rng.uniform(0.05, 0.3) * high
        center = (int(x), int(y))
        if rng.random() < 0.5:
            cv2.rectangle(picture, center, (int(x + w), int(y + h)), color, -1)
        else:
            axes = (int(w / 2) + 1, int(h / 2) + 1)
            turn = rng.uniform(0, 180)
            cv2.ellipse(picture, center, axes, turn, 0, 360, color, -1, cv2.LINE_AA)
    result: Image = picture
    return result


def show_place(place: Image, camera: Camera, frame: int, width: int, height: int) -> Image:
    """What the camera sees of the place in one frame, on a canvas for the figures."""
    matrix = camera.matrix(frame)
    matrix[:, 2] -= matrix[:, :2] @ [_MARGIN * width, _MARGIN * height]
    size = (width * SUPERSAMPLING, height * SUPERSAMPLING)
    canvas = np.empty((size[1], size[0], 3), np.uint8)
    cv2.warpAffine(
        place, matrix * SUPERSAMPLING, size, canvas, cv2.INTER_LINEAR, cv2.BORDER_REFLECT
    )
    return canvas


def paint_shadow(canvas: Image, center: Array, radii: tuple[float, float]) -> None:
    """Darkens the floor under a person; pixels of the picture."""
    layer = canvas.copy()
    where = tuple(int(round(c * SUPERSAMPLING)) for c in center)
    axes = (int(radii[0] * SUPERSAMPLING) + 1, int(radii[1] * SUPERSAMPLING) + 1)
    cv2.ellipse(layer, where, axes, 0, 0, 360, (20, 20, 24), -1, cv2.LINE_AA)
    cv2.addWeighted(layer, 0.4, canvas, 0.6, 0.0, dst=canvas)
