"""How the people of the generated dataset are built and move: 3-D joints over time.

A body frame has x to the person's left, y up and z forward, in metres, with the ground at y = 0.
Angles are in radians. Everything is an array over frames, so an action is a few lines of sines.
The actions come in pairs that a single frame cannot tell apart (`STAND_UP`/`SIT_DOWN` and
`WALK_FORWARD`/`WALK_BACKWARD` are each other's time reversal) or that only the limb tells apart
(left or right arm, left or right leg).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]

LEFT, RIGHT = 1.0, -1.0
SIDES: Mapping[str, float] = {"left": LEFT, "right": RIGHT}


@dataclass(frozen=True)
class Body:
    """Lengths of one person in metres, from hip-to-ankle proportions of adults and children.

    Attributes:
        height: of the standing person, about.
        torso, thigh, shank, upper_arm, forearm: bone lengths.
        shoulders, hips: half widths.
        head: radius of the head.
        girth: scales the thickness of every part.
    """

    height: float
    torso: float
    thigh: float
    shank: float
    upper_arm: float
    forearm: float
    shoulders: float
    hips: float
    head: float
    girth: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Body:
        """A random person between a child of 1.3 m and an adult of 1.95 m."""
        height = rng.uniform(1.3, 1.95)

        def share(mean: float) -> float:  # Drillis and Contini's segment lengths, +-8 %
            return height * mean * rng.uniform(0.92, 1.08)

        return cls(
            height=height,
            torso=share(0.288),
            thigh=share(0.245),
            shank=share(0.246),
            upper_arm=share(0.186),
            forearm=share(0.150),
            shoulders=share(0.115),
            hips=share(0.060),
            # Heads vary less than bodies, so a child's is large for its height.
            head=0.5 * height * 0.13 + 0.5 * 0.105,
            girth=rng.uniform(0.85, 1.35),
        )


@dataclass
class Limb:
    """Angles of an arm or a leg, each an array over frames or a number.

    Attributes:
        spread: away from the body's midline; 0 hangs down, pi/2 is sideways.
        swing: forward.
        bend: of the elbow or knee; 0 is straight.
        toward: body-frame direction into which the elbow or knee bends.
    """

    spread: Array | float
    swing: Array | float = 0.0
    bend: Array | float = 0.0
    toward: tuple[float, float, float] = (0.0, 0.0, 1.0)


def _arms() -> dict[str, Limb]:
    return {name: Limb(0.14, 0.02, 0.25) for name in SIDES}


def _legs() -> dict[str, Limb]:
    return {name: Limb(0.08, 0.0, 0.03, (0.0, -1.0, -1.0)) for name in SIDES}


@dataclass
class Posture:
    """A whole body over time; numbers apply to every frame.

    Attributes:
        arms, legs: limbs by side.
        lean: of the torso, forward.
        roll: of the torso, to the person's left.
        nod, turn: of the head, forward and to the left.
        advance: way gone forward, metres.
        lift: of the feet off the ground, metres.
        support: share of the weight on the left foot; the supporting foot stays where it is.
    """

    arms: dict[str, Limb] = field(default_factory=_arms)
    legs: dict[str, Limb] = field(default_factory=_legs)
    lean: Array | float = 0.03
    roll: Array | float = 0.0
    nod: Array | float = 0.0
    turn: Array | float = 0.0
    advance: Array | float = 0.0
    lift: Array | float = 0.0
    support: Array | float = 0.5


@dataclass(frozen=True)
class Manner:
    """How one clip's action is done.

    Attributes:
        rate: speed factor about 1.
        reach: amplitude factor about 1.
        phase: of repeated movements, in cycles.
        start: when a movement done once begins, in seconds.
        decoy: the arm that is not meant is held up, still.
    """

    rate: float
    reach: float
    phase: float
    start: float
    decoy: bool

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Manner:
        """A random manner."""
        return cls(
            rate=rng.uniform(0.8, 1.25),
            reach=rng.uniform(0.85, 1.1),
            phase=rng.uniform(0.0, 1.0),
            start=rng.uniform(0.3, 0.5),
            decoy=bool(rng.random() < 0.3),
        )


def _cycle(time: Array, manner: Manner, hertz: float) -> Array:
    """Goes 0, 1, 0 smoothly `hertz` times a second."""
    result: Array = 0.5 - 0.5 * np.cos(2 * np.pi * (hertz * manner.rate * time + manner.phase))
    return result


def _step(time: Array, manner: Manner, seconds: float) -> Array:
    """Goes from 0 to 1 once, smoothly."""
    part = np.clip((time - manner.start) * manner.rate / seconds, 0.0, 1.0)
    result: Array = part * part * (3 - 2 * part)
    return result


def _seated(amount: Array) -> Posture:
    """From standing (0) to sitting (1); the torso leans forward on the way."""
    posture = Posture(lean=0.03 + 0.05 * amount + 2.4 * amount * (1 - amount))
    for leg in posture.legs.values():
        leg.swing, leg.bend = 1.5 * amount, 0.03 + 1.5 * amount
    for arm in posture.arms.values():
        arm.swing, arm.bend = 0.45 * amount, 0.25 + 0.9 * amount
    return posture


def _stand_up(time: Array, manner: Manner) -> Posture:
    return _seated(1 - _step(time, manner, 0.8))


def _sit_down(time: Array, manner: Manner) -> Posture:
    return _seated(_step(time, manner, 0.8))


def _wave(side: str, time: Array, manner: Manner) -> Posture:
    posture = Posture()
    beat = _cycle(time, manner, 1.7)
    posture.arms[side] = Limb(
        spread=1.6 + 0.25 * manner.reach * (beat - 0.5),
        bend=0.4 + 1.2 * manner.reach * beat,
        toward=(0.0, 1.0, 0.2),
    )
    if manner.decoy:
        other = "left" if side == "right" else "right"
        posture.arms[other] = Limb(spread=1.45, bend=1.2, toward=(0.0, 1.0, 0.2))
    posture.roll = 0.06 * (beat - 0.5)
    return posture


def _kick(side: str, time: Array, manner: Manner) -> Posture:
    posture = Posture(support=0.0 if side == "left" else 1.0)
    beat = _cycle(time, manner, 1.0) ** 1.5
    posture.legs[side].swing = 1.6 * manner.reach * beat - 0.15
    posture.legs[side].bend = 0.1 + 2.2 * beat * (1 - beat) * 1.6
    posture.lean = 0.03 - 0.3 * beat
    posture.roll = SIDES[side] * -0.1 * beat
    for arm in posture.arms.values():
        arm.spread, arm.bend = 0.25 + 0.35 * beat, 0.6
    return posture


def _jumping_jack(time: Array, manner: Manner) -> Posture:
    beat = _cycle(time, manner, 1.15)
    posture = Posture(lift=0.28 * beat * (1 - beat))
    for arm in posture.arms.values():
        arm.spread, arm.swing, arm.bend = 0.15 + 2.6 * manner.reach * beat, 0.0, 0.2
    for leg in posture.legs.values():
        leg.spread = 0.04 + 0.45 * manner.reach * beat
    return posture


def _squat(time: Array, manner: Manner) -> Posture:
    beat = _cycle(time, manner, 0.75) * manner.reach
    posture = Posture(lean=0.03 + 0.65 * beat, nod=-0.3 * beat)
    for leg in posture.legs.values():
        leg.spread, leg.swing, leg.bend = 0.16, 1.5 * beat, 0.05 + 2.0 * beat
    for arm in posture.arms.values():
        arm.swing, arm.bend = 1.9 * beat, 0.15
    return posture


def _walk(direction: float, time: Array, manner: Manner) -> Posture:
    hertz = 0.75 * manner.rate
    angle = 2 * np.pi * (direction * hertz * time + manner.phase)
    stride = 0.5 * manner.reach
    posture = Posture(lean=0.06, advance=direction * 1.1 * manner.rate * manner.reach * time)
    for name, turn in (("left", 0.0), ("right", np.pi)):
        swing = np.sin(angle + turn)
        posture.legs[name].swing = stride * swing + 0.1
        # The knee bends while its leg swings forward, that is while the sine rises.
        posture.legs[name].bend = 0.1 + 1.05 * np.maximum(np.cos(angle + turn), 0.0) ** 1.5
        posture.arms[name].swing = -0.55 * manner.reach * swing
        posture.arms[name].bend = 0.35 - 0.15 * swing
    posture.support = 0.5 - 0.5 * np.sign(np.cos(angle))
    return posture


#: Action -> its posture over time. Names are camel case, as UCF-101 writes its classes.
ACTIONS: Mapping[str, Callable[[Array, Manner], Posture]] = {
    "JumpingJack": _jumping_jack,
    "KickLeft": lambda time, manner: _kick("left", time, manner),
    "KickRight": lambda time, manner: _kick("right", time, manner),
    "SitDown": _sit_down,
    "Squat": _squat,
    "StandUp": _stand_up,
    "WalkBackward": lambda time, manner: _walk(-1.0, time, manner),
    "WalkForward": lambda time, manner: _walk(1.0, time, manner),
    "WaveLeft": lambda time, manner: _wave("left", time, manner),
    "WaveRight": lambda time, manner: _wave("right", time, manner),
}


def _vectors(x: Array | float, y: Array | float, z: Array | float, frames: int) -> Array:
    """Stacks coordinates to `[frames, 3]`."""
    return np.stack([np.broadcast_to(np.asarray(v, float), (frames,)) for v in (x, y, z)], axis=-1)


def _rotate(points: Array, pitch: Array | float, roll: Array | float, yaw: Array | float) -> Array:
    """Turns `[frames, 3]`: `pitch` forward, `roll` to the left, then `yaw` to the left."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    x, y = x * np.cos(roll) + y * np.sin(roll), y * np.cos(roll) - x * np.sin(roll)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    return np.stack([x, y, z], axis=-1)


def _limb_directions(limb: Limb, side: float, frames: int) -> tuple[Array, Array]:
    """Unit vectors `[frames, 3]` of the upper and the lower bone."""
    spread, swing = np.asarray(limb.spread, float), np.asarray(limb.swing, float)
    upper = _vectors(
        side * np.sin(spread),
        -np.cos(spread) * np.cos(swing),
        np.cos(spread) * np.sin(swing),
        frames,
    )
    toward = np.asarray(limb.toward)
    across = toward - np.sum(upper * toward, axis=-1, keepdims=True) * upper
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-9
    bend = np.broadcast_to(np.asarray(limb.bend, float), (frames,))[:, None]
    return upper, np.cos(bend) * upper + np.sin(bend) * across


def compute_joints(
    body: Body, posture: Posture, yaw: float | Array, num_frames: int
) -> dict[str, Array]:
    """Puts a body into a posture.

    Args:
        body: the person.
        posture: the angles over `num_frames` frames.
        yaw: the way the person faces: 0 is the camera (z), pi/2 is the picture's right (x).
        num_frames: frames.

    Returns:
        Joint name -> float `[num_frames, 3]`, metres: x to the right of the picture, y up, z toward
        the camera. Names: pelvis, chest, head, nose, and left_/right_ eye, ear, shoulder, elbow,
        wrist, hand, hip, knee, ankle, toe.
    """

    def vectors(x: Array | float, y: Array | float, z: Array | float) -> Array:
        return _vectors(x, y, z, num_frames)

    def torso_turned(points: Array) -> Array:
        return _rotate(points, posture.lean, posture.roll, 0.0)

    joints = {"pelvis": vectors(0.0, 0.0, 0.0)}
    joints["chest"] = torso_turned(vectors(0.0, body.torso, 0.0))
    for name, side in SIDES.items():
        upper, lower = _limb_directions(posture.arms[name], side, num_frames)
        shoulder = torso_turned(vectors(side * body.shoulders, body.torso, 0.0))
        joints[f"{name}_shoulder"] = shoulder
        joints[f"{name}_elbow"] = shoulder + torso_turned(upper) * body.upper_arm
        joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + torso_turned(lower) * body.forearm
        hand = torso_turned(lower) * (0.045 * body.height)
        joints[f"{name}_hand"] = joints[f"{name}_wrist"] + hand

        upper, lower = _limb_directions(posture.legs[name], side, num_frames)
        hip = vectors(side * body.hips, 0.0, 0.0)
        joints[f"{name}_hip"] = hip
        joints[f"{name}_knee"] = hip + upper * body.thigh
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + lower * body.shank
        # The foot is at a right angle to the shank, toes turned out a little.
        forward = vectors(0.25 * side, lower[:, 2] - 0.3, -lower[:, 1])
        forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
        joints[f"{name}_toe"] = joints[f"{name}_ankle"] + forward * (0.085 * body.height)

    head_up = 0.06 * body.height + 0.85 * body.head
    nod = np.asarray(posture.nod, float) + 0.4 * np.asarray(posture.lean, float)
    joints["head"] = joints["chest"] + _rotate(vectors(0, head_up, 0), nod, posture.roll, 0.0)
    face = {
        "nose": (0.0, -0.12, 1.02),
        "left_eye": (0.36, 0.12, 0.86),
        "right_eye": (-0.36, 0.12, 0.86),
        "left_ear": (0.88, 0.0, -0.05),
        "right_ear": (-0.88, 0.0, -0.05),
    }
    for name, place in face.items():
        offset = _rotate(vectors(*place) * body.head, nod, posture.roll, posture.turn)
        joints[name] = joints["head"] + offset

    support = np.broadcast_to(np.asarray(posture.support, float), (num_frames,))[:, None]
    foot = support * joints["left_ankle"] + (1 - support) * joints["right_ankle"]
    lowest = np.minimum(joints["left_ankle"][:, 1], joints["right_ankle"][:, 1])
    ground = 0.045 * body.height
    if np.ndim(posture.advance):  # walking: the hips move evenly, the feet follow
        foot = foot * 0.0
    root = vectors(-foot[:, 0], ground - lowest, -foot[:, 2])
    root = root + vectors(0.0, posture.lift, posture.advance)
    return {name: _rotate(p + root, 0.0, 0.0, yaw) for name, p in joints.items()}
