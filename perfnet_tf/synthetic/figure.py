"""How the people of the generated dataset look: limbs, a torso and a head that shows the face.

Everything is drawn with OpenCV on a canvas of twice the size and then shrunk, which smooths the
edges. A figure is a set of tapered limbs, painted from far to near, each with a darker rim.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from perfnet_tf.synthetic.motion import SIDES, Array, Body

#: The canvas is this many times larger than the picture.
SUPERSAMPLING = 2

# cv2 takes points in fixed point with this many fractional bits.
_SHIFT = 4
_FIXED_POINT = SUPERSAMPLING << _SHIFT

Image: TypeAlias = npt.NDArray[np.uint8]
Color: TypeAlias = tuple[float, float, float]

#: (joint, joint, radius in metres at each, field of `Outfit`) of a leg and of an arm.
_LEG = (
    ("hip", "knee", 0.088, 0.064, "trousers"),
    ("knee", "ankle", 0.058, 0.042, "shank"),
    ("ankle", "toe", 0.048, 0.036, "hair"),
)
_ARM = (
    ("shoulder", "elbow", 0.058, 0.046, "shirt"),
    ("elbow", "wrist", 0.044, 0.034, "forearm"),
    ("wrist", "hand", 0.036, 0.04, "skin"),
)
_ANGLES = np.linspace(0, 2 * np.pi, 14)[:-1]
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=-1)


@dataclass(frozen=True)
class Outfit:
    """A person's colours (RGB, 0..255); shoes are as dark as the hair."""

    skin: Color
    hair: Color
    shirt: Color
    forearm: Color
    trousers: Color
    shank: Color

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Outfit:
        """Random training clothes: a shirt in a warm colour, dark trousers, both long or short.

        People dress alike enough that a small network finds them within a few hundred steps.
        """
        light, dark, share = np.array([244, 208, 178]), np.array([88, 56, 40]), rng.random()
        red, green, blue = light + (dark - light) * share
        skin = (float(red), float(green), float(blue))
        shirt = random_color(rng, (0.6, 0.95), saturation=(0.55, 0.9), hue=(-20.0, 55.0))
        trousers = random_color(rng, (0.12, 0.4), saturation=(0.2, 0.8), hue=(200.0, 260.0))
        return cls(
            skin=skin,
            hair=random_color(rng, (0.1, 0.6), saturation=(0.1, 0.6), hue=(15.0, 45.0)),
            shirt=shirt,
            forearm=shirt if rng.random() < 0.5 else skin,
            trousers=trousers,
            shank=trousers if rng.random() < 0.7 else skin,
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
        rng: source of randomness.
        value: range of its brightness, in [0, 1].
        saturation: range of it, in [0, 1]; walls are grey, clothes are not.
        hue: range in degrees, red at 0 (and 360), green at 120, blue at 240; may be negative.
    """
    degrees = rng.uniform(*hue) % 360.0
    hsv = np.array([[[degrees / 2, 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]])
    red, green, blue = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0, 0].tolist()
    return (red, green, blue)


def draw_figure(
    canvas: Image,
    joints: Mapping[str, Array],
    pixels: Mapping[str, Array],
    frame: int,
    body: Body,
    outfit: Outfit,
    *,
    scale: float,
) -> None:
    """Paints one person in one frame.

    Args:
        canvas: uint8 RGB, `SUPERSAMPLING` times the picture's size; painted in place.
        joints: metres `[frames, 3]` by name, from `motion.compute_joints`.
        pixels: the same, projected: `[frames, 2]`.
        frame: which frame.
        body, outfit: the person.
        scale: pixels of the picture per metre.
    """
    depth = {name: float(place[frame, 2]) for name, place in joints.items()}
    points = {name: place[frame] for name, place in pixels.items()}
    thick = body.girth * body.height / 1.7 * scale
    jobs: list[tuple[float, Callable[[], None]]] = []
    for side in SIDES:
        # A limb is painted as a whole, an arm that hangs at the side after the torso.
        for bones, nearer in ((_LEG, 0.0), (_ARM, 0.01)):
            ends = [(f"{side}_{bone[0]}", f"{side}_{bone[1]}") for bone in bones]
            order = sorted(range(len(bones)), key=lambda i: depth[ends[i][0]] + depth[ends[i][1]])
            shapes = [
                (
                    [(points[ends[i][0]], bones[i][2]), (points[ends[i][1]], bones[i][3])],
                    getattr(outfit, bones[i][4]),
                )
                for i in order
            ]
            mean = float(np.mean([depth[name] for pair in ends[:2] for name in pair]))
            jobs.append((mean + nearer, functools.partial(_draw_shapes, canvas, shapes, thick)))
    chest, middle = depth["chest"], (depth["chest"] + depth["pelvis"]) / 2
    # Seen from the side, shoulders coincide: their radius keeps the torso from vanishing.
    torso = [(points[f"{side}_shoulder"], 0.075) for side in SIDES]
    torso += [(points[f"{side}_hip"], 0.105) for side in SIDES]
    neck = [(points["chest"], 0.05), (points["head"], 0.045)]
    shapes = [(neck, outfit.skin), (torso, outfit.shirt)]
    jobs.append((middle, functools.partial(_draw_shapes, canvas, shapes, thick)))
    # The neck is painted with the torso, so the head comes later even when leaning back.
    nearest = max(depth["head"], middle, chest) + 0.02
    facing = (depth["nose"] - depth["head"]) / body.head  # 1 toward the camera, -1 away
    radius = body.head * scale
    jobs.append((nearest, lambda: _draw_head(canvas, points, radius, outfit, facing)))
    for _, job in sorted(jobs, key=lambda job: job[0]):
        job()


def _draw_shapes(
    canvas: Image,
    shapes: Sequence[tuple[Sequence[tuple[Array, float]], Color]],
    thick: float,
) -> None:
    """Hulls of circles (centre, radius in units of `thick`), each with a darker rim."""
    for circles, color in shapes:
        for share, tone in ((1.0, 0.62), (0.78, 1.0)):
            _fill(canvas, [(c, share * r * thick) for c, r in circles], color, tone)


def _draw_head(
    canvas: Image, points: Mapping[str, Array], radius: float, outfit: Outfit, facing: float
) -> None:
    """Hair, and a face with a nose on the side that the person looks to."""
    head, nose = points["head"], points["nose"]
    _fill(canvas, [(head - 0.25 * (nose - head), radius)], outfit.hair)
    if facing < -0.5:
        return
    face = head + 0.22 * (nose - head) + np.array([0.0, 0.15 * radius])
    _fill(canvas, [(face, 0.85 * radius)], outfit.skin)
    _fill(canvas, [(nose, 0.16 * radius)], outfit.skin, 0.6)


def _fill(
    canvas: Image, circles: Sequence[tuple[Array, float]], color: Color, tone: float = 1.0
) -> None:
    """Fills the convex hull of circles (centre, radius), in pixels of the picture."""
    points = np.concatenate([center + radius * _CIRCLE for center, radius in circles])
    hull = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(float)
    red, green, blue = color
    shaded = (tone * red, tone * green, tone * blue)
    fixed = np.rint(hull * _FIXED_POINT).astype(np.int32)
    cv2.fillConvexPoly(canvas, fixed, shaded, cv2.LINE_AA, _SHIFT)
