"""How the people of the generated dataset look: limbs, faces and clothes.

Everything is drawn with OpenCV on a canvas of twice the size and shrunk, which is what smooths its
edges. A figure is a set of tapered limbs, painted from far to near, each shaded from the light's
side; patterns on the clothes are fixed to the body, so that they move with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from perfnet_tf.opencv import cv2
from perfnet_tf.synthetic.motion import SIDES, Array, Body

#: The canvas is this many times larger than the picture.
SUPERSAMPLING = 2

# cv2 takes points in fixed point with this many fractional bits.
_SHIFT = 4
_FIXED_POINT = SUPERSAMPLING << _SHIFT

Picture: TypeAlias = npt.NDArray[np.uint8]
Color: TypeAlias = tuple[float, float, float]
#: Colour, pattern, and the pattern's colour.
Cloth: TypeAlias = tuple[Color, str, Color]
#: Joints at both ends, radii in metres at both ends, cloth.
Piece: TypeAlias = tuple[str, str, tuple[float, float], Cloth]


@dataclass(frozen=True)
class Outfit:
    """A person's colours (RGB, 0..255) and patterns (`plain`, `bands`, `stripes`, `dots`)."""

    skin: Color
    hair: Color
    shirt: Color
    shirt_print: Color
    trousers: Color
    trousers_print: Color
    shoes: Color
    shirt_pattern: str
    trousers_pattern: str
    long_sleeves: bool
    long_legs: bool
    long_hair: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Outfit:
        """Random training clothes: a shirt in a warm colour, dark trousers.

        People dress alike enough that a small network finds them within a few hundred steps.
        """
        patterns = ("plain", "bands", "stripes", "dots")
        light, dark = np.array([244, 208, 178]), np.array([88, 56, 40])
        skin = light + (dark - light) * rng.random()
        hairs = [(30, 24, 20), (72, 46, 28), (150, 104, 54), (206, 176, 110), (120, 118, 116)]
        return cls(
            skin=tuple(skin),
            hair=hairs[rng.integers(len(hairs))],
            shirt=random_color(rng, (0.6, 0.95), saturation=(0.55, 0.9), hue=(-20.0, 55.0)),
            shirt_print=random_color(rng),
            trousers=random_color(rng, (0.12, 0.4), saturation=(0.2, 0.8), hue=(200.0, 260.0)),
            trousers_print=random_color(rng, (0.3, 0.7)),
            shoes=random_color(rng, (0.1, 0.9)),
            shirt_pattern=str(rng.choice(patterns, p=(0.3, 0.3, 0.2, 0.2))),
            trousers_pattern=str(rng.choice(patterns, p=(0.6, 0.15, 0.15, 0.1))),
            long_sleeves=bool(rng.random() < 0.5),
            long_legs=bool(rng.random() < 0.7),
            long_hair=bool(rng.random() < 0.4),
        )


def random_color(
    rng: np.random.Generator,
    value: tuple[float, float] = (0.15, 0.95),
    *,
    saturation: tuple[float, float] = (0.08, 0.86),
    hue: tuple[float, float] = (0.0, 360.0),
) -> Color:
    """A random RGB colour.

    Args:
        rng: draws it.
        value: range of its brightness, in [0, 1].
        saturation: range of it, in [0, 1]; walls are grey, clothes are not.
        hue: range in degrees, red at 0 (and 360), green at 120, blue at 240; may be negative.
    """
    degrees = rng.uniform(*hue) % 360.0
    hsv = np.array([[[degrees / 2, 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]])
    red, green, blue = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return (red, green, blue)


def shade(color: Color, factor: float) -> Color:
    """Darker below 1, lighter above."""
    red, green, blue = color
    return (min(red * factor, 255.0), min(green * factor, 255.0), min(blue * factor, 255.0))


def fill_polygon(canvas: Picture, points: Array, color: Color) -> None:
    """Fills a convex polygon `[n, 2]` given in picture pixels."""
    fixed = np.rint(points * _FIXED_POINT).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, color, cv2.LINE_AA, _SHIFT)


_ANGLES = np.linspace(0, 2 * np.pi, 14)[:-1]
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)


def convex_hull(points: Array) -> Array:
    """Convex hull `[m, 2]` of points `[n, 2]`."""
    return cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(float)


def _hull(circles: Sequence[tuple[Array, float]]) -> Array:
    """Convex hull `[n, 2]` of circles (centre, radius)."""
    return convex_hull(np.concatenate([center + radius * _CIRCLE for center, radius in circles]))


def _fill_capsule(
    canvas: Picture, a: Array, b: Array, radii: tuple[float, float], color: Color
) -> None:
    fill_polygon(canvas, _hull([(a, radii[0]), (b, radii[1])]), color)


def _print_pattern(
    canvas: Picture,
    corners: tuple[Array, Array, Array, Array],
    pattern: str,
    color: Color,
) -> None:
    """Prints on the cloth between four corners: top left and right, bottom left and right."""
    top_left, top_right, bottom_left, bottom_right = corners

    def at(u: float, v: float) -> Array:
        top = top_left + (top_right - top_left) * u
        return top + (bottom_left + (bottom_right - bottom_left) * u - top) * v

    if pattern == "bands":
        for v in (0.12, 0.42, 0.72):
            band = np.stack([at(0, v), at(1, v), at(1, v + 0.14), at(0, v + 0.14)])
            fill_polygon(canvas, band, color)
    elif pattern == "stripes":
        for u in (0.14, 0.44, 0.74):
            fill_polygon(
                canvas, np.stack([at(u, 0), at(u + 0.13, 0), at(u + 0.13, 1), at(u, 1)]), color
            )
    elif pattern == "dots":
        radius = 0.09 * float(np.linalg.norm(top_right - top_left) + 1.0)
        for u, v in ((0.25, 0.2), (0.75, 0.2), (0.5, 0.5), (0.25, 0.8), (0.75, 0.8)):
            fill_polygon(canvas, at(u, v) + radius * _CIRCLE, color)


@dataclass(frozen=True)
class _Pen:
    """What drawing one figure in one frame needs: points in pixels and pixels per metre."""

    canvas: Picture
    points: Mapping[str, Array]
    scale: float
    light: float

    def limb(
        self,
        names: tuple[str, str],
        radii: tuple[float, float],
        color: Color,
        pattern: str = "plain",
        print_color: Color = (0, 0, 0),
    ) -> None:
        """A tapered, shaded limb; radii in metres."""
        a, b = self.points[names[0]], self.points[names[1]]
        first, second = radii[0] * self.scale, radii[1] * self.scale
        lit = np.array([self.light, -0.35]) * min(first, second)
        _fill_capsule(self.canvas, a, b, (first, second), shade(color, 0.62))
        inner = (0.78 * first, 0.78 * second)
        _fill_capsule(self.canvas, a + 0.22 * lit, b + 0.22 * lit, inner, color)
        if pattern != "plain":
            along = b - a
            length = float(np.linalg.norm(along))
            if length > 0.5 * (first + second):
                across = np.array([-along[1], along[0]]) / length
                corners = (
                    a - across * inner[0],
                    a + across * inner[0],
                    b - across * inner[1],
                    b + across * inner[1],
                )
                _print_pattern(self.canvas, corners, pattern, print_color)
        glow = (0.3 * first, 0.3 * second)
        _fill_capsule(self.canvas, a + 0.5 * lit, b + 0.5 * lit, glow, shade(color, 1.22))


def draw_figure(
    canvas: Picture,
    joints: Mapping[str, Array],
    pixels: Mapping[str, Array],
    frame: int,
    body: Body,
    outfit: Outfit,
    *,
    scale: float,
    light: float,
) -> None:
    """Paints one person in one frame.

    Args:
        canvas: uint8 RGB, `SUPERSAMPLING` times the picture's size; painted in place.
        joints: metres `[frames, 3]` by name, from `synthetic_motion.compute_joints`.
        pixels: the same, projected: `[frames, 2]`.
        frame: which frame.
        body, outfit: the person.
        scale: pixels of the picture per metre.
        light: -1 (from the left) to 1.
    """
    depth = {name: place[frame, 2] for name, place in joints.items()}
    pen = _Pen(canvas, {name: place[frame] for name, place in pixels.items()}, scale, light)
    thick = body.girth * body.height / 1.7
    jobs: list[tuple[float, Callable[[], None]]] = []

    trousers = (outfit.trousers, outfit.trousers_pattern, outfit.trousers_print)
    shirt = (outfit.shirt, outfit.shirt_pattern, outfit.shirt_print)
    shoe, bare = _plain(outfit.shoes), _plain(outfit.skin)
    for side in SIDES:
        legs = [
            (f"{side}_hip", f"{side}_knee", (0.088, 0.064), trousers),
            (
                f"{side}_knee",
                f"{side}_ankle",
                (0.058, 0.042),
                trousers if outfit.long_legs else bare,
            ),
            (f"{side}_ankle", f"{side}_toe", (0.048, 0.036), shoe),
        ]
        arms = [
            (f"{side}_shoulder", f"{side}_elbow", (0.058, 0.046), shirt),
            (
                f"{side}_elbow",
                f"{side}_wrist",
                (0.044, 0.034),
                shirt if outfit.long_sleeves else bare,
            ),
            (f"{side}_wrist", f"{side}_hand", (0.036, 0.04), bare),
        ]
        # A limb is painted as a whole, an arm that hangs at the side after the torso.
        for pieces, nearer in ((legs, 0.0), (arms, 0.01)):
            mean = float(np.mean([depth[end] for piece in pieces[:2] for end in piece[:2]]))
            pieces = sorted(pieces, key=lambda piece: depth[piece[0]] + depth[piece[1]])
            jobs.append((mean + nearer, functools.partial(_draw_limb, pen, pieces, thick)))

    torso = (depth["chest"] + depth["pelvis"]) / 2
    jobs.append((torso, lambda: _draw_torso(pen, thick, outfit)))
    # The neck is painted with the torso, so the head comes later even when leaning back.
    face = max(depth["head"], torso) + 0.02
    jobs.append((face, lambda: _draw_head(pen, depth, body, outfit)))
    for _, job in sorted(jobs, key=lambda job: job[0]):
        job()


def _plain(color: Color) -> Cloth:
    return (color, "plain", color)


def _draw_limb(pen: _Pen, pieces: Sequence[Piece], thick: float) -> None:
    for start, end, (first, second), cloth in pieces:
        pen.limb((start, end), (first * thick, second * thick), *cloth)


def _draw_torso(pen: _Pen, thick: float, outfit: Outfit) -> None:
    left, right = pen.points["left_shoulder"], pen.points["right_shoulder"]
    left_hip, right_hip = pen.points["left_hip"], pen.points["right_hip"]
    # Seen from the side, shoulders coincide: the chest's own depth keeps the torso from vanishing.
    shoulder, waist = 0.075 * thick * pen.scale, 0.105 * thick * pen.scale
    pen.limb(("chest", "head"), (0.05 * thick, 0.045 * thick), shade(outfit.skin, 0.9))
    pen.limb(("left_hip", "right_hip"), (0.1 * thick, 0.1 * thick), outfit.trousers)
    circles = [(left, shoulder), (right, shoulder), (left_hip, waist), (right_hip, waist)]
    fill_polygon(pen.canvas, _hull(circles), shade(outfit.shirt, 0.62))
    lit = np.array([0.3 * pen.light, -0.1]) * shoulder
    inner = [(center + lit, 0.8 * radius) for center, radius in circles]
    fill_polygon(pen.canvas, _hull(inner), outfit.shirt)
    if outfit.shirt_pattern != "plain":
        across = left - right
        width = float(np.linalg.norm(across))
        across = across / width if width > 1e-6 else np.array([1.0, 0.0])
        corners = (
            right - 0.7 * shoulder * across,
            left + 0.7 * shoulder * across,
            right_hip - 0.7 * waist * across,
            left_hip + 0.7 * waist * across,
        )
        _print_pattern(pen.canvas, corners, outfit.shirt_pattern, outfit.shirt_print)


def _draw_head(pen: _Pen, depth: Mapping[str, float], body: Body, outfit: Outfit) -> None:
    head, radius = pen.points["head"], body.head * pen.scale
    nose = pen.points["nose"]
    chin = head + 0.35 * (nose - head) + np.array([0.0, 0.5 * radius])
    facing = (depth["nose"] - depth["head"]) / body.head  # 1 toward the camera, -1 away
    hair = shade(outfit.hair, 0.9)
    back = head - 0.3 * (nose - head)
    if outfit.long_hair:
        fall = back + np.array([0.0, 1.0 * radius])
        fill_polygon(pen.canvas, _hull([(back, 0.98 * radius), (fall, 0.62 * radius)]), hair)
    fill_polygon(pen.canvas, _hull([(back - np.array([0.0, 0.12 * radius]), 1.04 * radius)]), hair)
    if facing < -0.5:
        return
    face = head + 0.18 * (nose - head) + np.array([0.0, 0.12 * radius])
    skull = [(face, 0.84 * radius), (chin, 0.58 * radius)]
    fill_polygon(pen.canvas, _hull(skull), shade(outfit.skin, 0.75))
    lit = np.array([0.1 * pen.light, -0.05]) * radius
    fill_polygon(pen.canvas, _hull([(c + lit, 0.9 * r) for c, r in skull]), outfit.skin)
    for side in SIDES:
        if depth[f"{side}_ear"] > depth["head"] - 0.02:
            ear = pen.points[f"{side}_ear"]
            fill_polygon(pen.canvas, ear + 0.17 * radius * _CIRCLE, shade(outfit.skin, 0.85))
        if depth[f"{side}_eye"] > depth["head"] + 0.1 * body.head:
            eye = pen.points[f"{side}_eye"]
            fill_polygon(pen.canvas, eye + 0.2 * radius * _CIRCLE, (245, 245, 245))
            fill_polygon(pen.canvas, eye + 0.11 * radius * _CIRCLE, (25, 20, 20))
    fill_polygon(pen.canvas, nose + 0.13 * radius * _CIRCLE, shade(outfit.skin, 0.68))
    mouth = nose + 0.45 * (chin - head) + np.array([0.0, 0.12 * radius])
    fill_polygon(pen.canvas, mouth + _CIRCLE * [0.24 * radius, 0.07 * radius], (140, 50, 50))
