"""A dataset that needs no download: generated videos of people in motion, with their keypoints.

`generate_synthetic_dataset` writes

    videos/JumpingJack/v_JumpingJack_g01_c01.mp4              25 fps, 160x120
    videos/JumpingJack/v_JumpingJack_g01_c01.keypoints.json   see `perfnet_tf.pose.estimator`
    splits/classInd.txt  trainlist01.txt  testlist01.txt      as UCF-101 writes them
    synthetic.json                                            the arguments it was made with

A group (`g01`) is one person in one place who performs every action once; no group is in both
splits, so a network is tested on people and places that it has not seen. Several actions differ
only in the direction of time or in the limb; mirroring a clip would make a left arm a right one,
so train with `TrainConfig(mirror=False)`. These are drawings: results on them say that the
software works, not how well a network recognises real people.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.opencv import cv2
from perfnet_tf.pose.keypoint_file import keypoints_path
from perfnet_tf.pose.skeleton import KEYPOINT_NAMES
from perfnet_tf.synthetic.figure import Outfit, draw_figure, random_color
from perfnet_tf.synthetic.motion import ACTIONS, Array, Body, Manner, compute_joints
from perfnet_tf.synthetic.scene import (
    Camera,
    Passer,
    paint_place,
    paint_shadow,
    paint_stool,
    show_place,
)
from perfnet_tf.video.writing import VideoFile

#: Classes in label order.
CLASSES = tuple(sorted(ACTIONS))

#: What a stool beside the person says nothing about: these happen on one.
_ON_A_STOOL = ("SitDown", "StandUp")
_WALKS = ("WalkForward", "WalkBackward")


@dataclass(frozen=True)
class SyntheticConfig:
    """What decides every pixel of the dataset.

    Attributes:
        clips_per_class: videos of each class in both splits together: the number of groups.
        test_share: of the groups, rounded; at least one group is tested and one trained on.
        width, height: of the videos in pixels.
        num_frames, fps: their length and rate.
        seed: another seed gives other people, places and movements.
    """

    clips_per_class: int = 24
    test_share: float = 1 / 3
    width: int = 160
    height: int = 120
    num_frames: int = 44
    fps: float = 25.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips_per_class < 2:
            raise InputError(
                "clips_per_class must be 2 or more: one for training, one for the test. "
                f"Received: {self.clips_per_class!r}."
            )
        if not 0 < self.test_share < 1:
            raise InputError(f"test_share must be between 0 and 1. Received: {self.test_share!r}.")
        for name in ("width", "height", "num_frames"):
            # H.264 needs even sizes; a person below 32 pixels is a smudge.
            value = getattr(self, name)
            if value < 2 or (name != "num_frames" and (value < 32 or value % 2)):
                rule = "2 or more" if name == "num_frames" else "even and 32 or more"
                raise InputError(f"{name} must be {rule}. Received: {value!r}.")
        if not self.fps > 0:
            raise InputError(f"fps must be greater than 0. Received: {self.fps!r}.")

    @property
    def num_test_groups(self) -> int:
        """The first groups are the test's, as in UCF-101's lists."""
        return min(max(round(self.clips_per_class * self.test_share), 1), self.clips_per_class - 1)


@dataclass(frozen=True)
class SyntheticDataset:
    """Folder of the dataset: what `prepare --dataset=synthetic` takes."""

    videos: pathlib.Path
    splits: pathlib.Path
    config: SyntheticConfig

    @property
    def num_videos(self) -> int:
        """Of both splits."""
        return self.config.clips_per_class * len(CLASSES)


def generate_synthetic_dataset(
    output: str | os.PathLike[str],
    config: SyntheticConfig = SyntheticConfig(),
    *,
    workers: int | None = None,
    progress: Callable[[Sequence[str]], Iterable[str]] = iter,
) -> SyntheticDataset:
    """Generates the videos that do not exist yet, and the lists.

    The same arguments give the same files. Takes about 0.15 s a video.

    Args:
        output: folder to write to; made if absent.
        config: what to generate.
        workers: threads; None takes one per core.
        progress: wraps the list of clips, which is iterated as they get finished, as `tqdm` does.

    Raises:
        InputError: `output` holds a dataset of another configuration.
    """
    output = pathlib.Path(output)
    videos, splits = output / "videos", output / "splits"
    for folder in (splits, *(videos / name for name in CLASSES)):
        folder.mkdir(parents=True, exist_ok=True)
    _check_same_config(output / "synthetic.json", config)
    _write_lists(splits, config)

    def write(clip_id: str) -> None:
        path = videos / f"{clip_id}.mp4"
        if not (path.exists() and keypoints_path(path).exists()):
            _write_clip(path, clip_id, config)

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        written = pool.map(write, _clip_ids(config))
        for _ in progress(_clip_ids(config)):
            next(written)
    return SyntheticDataset(videos, splits, config)


def render_clip(
    action: str, group: int, config: SyntheticConfig = SyntheticConfig()
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Draws one video.

    Args:
        action: one of `CLASSES`.
        group: person and place, from 1.
        config: what to generate.

    Returns:
        RGB frames uint8 `[num_frames, height, width, 3]`, and keypoints float32
        `[num_frames, 17, 3]`: x and y in pixels, and a score: 0 where hidden or outside, else 1.

    Raises:
        InputError: no such action.
    """
    check_choice("action", action, CLASSES)
    size = (config.width, config.height)
    group_rng = np.random.default_rng([config.seed, group])
    body, outfit = Body.draw(group_rng), Outfit.draw(group_rng)
    stool_color, stool_height = random_color(group_rng), group_rng.uniform(0.95, 1.05)
    rng = np.random.default_rng([config.seed, group, 1 + CLASSES.index(action)])
    manner = Manner.draw(rng)
    camera = Camera.draw(rng, body, config.num_frames, *size)
    place = paint_place(group_rng, *size, floor=camera.center[1] - 0.12 * config.height)

    time = np.arange(config.num_frames) / config.fps
    if action in _WALKS:  # across the picture, at its middle half-way
        yaw = float(rng.choice((-1, 1)) * np.pi / 2 + rng.normal(0.0, 0.25))
        camera = dataclasses.replace(
            camera, center=(config.width / 2 + rng.normal(0, 0.06) * config.width, camera.center[1])
        )
        posture = ACTIONS[action](time - time[-1] / 2, manner)
    else:
        yaw = rng.uniform(-0.5, 0.5)
        posture = ACTIONS[action](time, manner)
    wobble = 0.04 * _smooth_noise(rng, config.num_frames, 4)
    posture.lean, posture.roll = posture.lean + wobble[0], posture.roll + wobble[1]
    posture.nod, posture.turn = posture.nod + 3 * wobble[2], 5 * wobble[3]
    joints = compute_joints(body, posture, yaw, config.num_frames)
    pixels = {name: camera.project(points) for name, points in joints.items()}

    stool = _stool_place(action, body, yaw, rng)
    if stool is not None:
        seat = [
            camera.project(c) for c in _stool_corners(*stool, stool_height * _seat(body), camera)
        ]
        feet = [camera.project(c) for c in _stool_corners(*stool, 0.0, camera)]
    shadow = camera.project(joints["pelvis"] * [1.0, 0.0, 1.0])
    passers = [Passer.draw(rng, *size, in_front=False) for _ in range(rng.integers(0, 4))]
    passers += [Passer.draw(rng, *size, in_front=True) for _ in range(int(rng.random() < 0.3))]
    light, exposure = rng.uniform(-1, 1), 1 + 0.06 * _smooth_noise(rng, config.num_frames, 1)[0]
    grain = rng.uniform(1.5, 4.0)
    noise = rng.normal(0.0, grain, (4, config.height, config.width, 3)).astype(np.float32)

    frames = np.empty((config.num_frames, config.height, config.width, 3), np.uint8)
    for frame in range(config.num_frames):
        canvas = show_place(place, camera, frame, *size)
        matrix, seconds = camera.matrix(frame), float(time[frame])
        for passer in passers:
            if not passer.in_front:
                passer.paint(canvas, seconds, matrix)
        scale = float(camera.focal * camera.zoom[frame])
        paint_shadow(canvas, shadow[frame], (0.3 * scale, 0.06 * scale))
        if stool is not None:
            paint_stool(canvas, [c[frame] for c in seat], [c[frame] for c in feet], stool_color)
        draw_figure(canvas, joints, pixels, frame, body, outfit, scale=scale, light=light)
        for passer in passers:
            if passer.in_front:
                passer.paint(canvas, seconds, matrix)
        small = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        small = small * exposure[frame] + noise[rng.integers(len(noise))]
        frames[frame] = np.clip(small, 0, 255).astype(np.uint8)
    return frames, _keypoints(joints, pixels, body, size)


def _clip_name(action: str, group: int) -> str:
    return f"{action}/v_{action}_g{group:02d}_c01"


def _clip_ids(config: SyntheticConfig) -> list[str]:
    groups = range(1, config.clips_per_class + 1)
    return [_clip_name(action, group) for group in groups for action in CLASSES]


def _check_same_config(path: pathlib.Path, config: SyntheticConfig) -> None:
    text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    if path.exists() and path.read_text() != text:
        raise InputError(
            f"{path.parent} holds a dataset that was generated with other arguments ({path.name}). "
            "Choose another folder, or remove that one."
        )
    _write_if_changed(path, text)


def _write_lists(splits: pathlib.Path, config: SyntheticConfig) -> None:
    index = "".join(f"{label} {name}\n" for label, name in enumerate(CLASSES, start=1))
    _write_if_changed(splits / "classInd.txt", index)
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for label, action in enumerate(CLASSES, start=1):
        for group in range(1, config.clips_per_class + 1):
            name = f"{_clip_name(action, group)}.mp4"
            if group <= config.num_test_groups:
                lines["test"].append(name)
            else:
                lines["train"].append(f"{name} {label}")
    for split, text in lines.items():
        _write_if_changed(splits / f"{split}list01.txt", "\n".join(text) + "\n")


def _write_if_changed(path: pathlib.Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _write_clip(path: pathlib.Path, clip_id: str, config: SyntheticConfig) -> None:
    action, name = clip_id.split("/")
    group = int(name.split("_g")[1].split("_")[0])
    frames, keypoints = render_clip(action, group, config)
    document = {
        "fps": config.fps,
        "width": config.width,
        "height": config.height,
        "frames": [[np.round(person, 2).tolist()] for person in keypoints.astype(float)],
    }
    with VideoFile(path, config.fps) as video:
        for frame in frames:
            video.write(frame)
        # Before the video appears: where there is a video, its keypoints are complete.
        keypoints_path(path).write_text(json.dumps(document))


def _smooth_noise(rng: np.random.Generator, num_frames: int, count: int) -> Array:
    """`[count, num_frames]`, of about unit size, changing within half a second."""
    time = np.arange(num_frames) / max(num_frames, 1)
    phase = rng.uniform(0, 2 * np.pi, (count, 3, 1))
    waves = np.sin(2 * np.pi * np.array([0.7, 1.6, 2.9])[:, None] * time + phase)
    result: Array = np.sum(waves * np.array([0.6, 0.45, 0.3])[:, None], axis=1)
    return result


def _seat(body: Body) -> float:
    """Height in metres of a stool that fits."""
    return body.shank + 0.045 * body.height - 0.06 * body.girth


def _stool_place(
    action: str, body: Body, yaw: float, rng: np.random.Generator
) -> tuple[Array, float] | None:
    """A stool's place on the ground (x, z) in metres and the way it faces; None: there is none."""
    behind = -0.95 * body.thigh * np.array([np.sin(yaw), np.cos(yaw)])
    if action in _ON_A_STOOL:
        return behind, yaw
    chance = rng.random()
    if action == "Squat" and chance < 0.5:
        return 1.15 * behind, yaw
    if chance < 0.45:
        side = rng.choice((-1, 1)) * rng.uniform(0.45, 0.9)
        return np.array([side, rng.uniform(-1.2, -0.6)]), rng.uniform(-1, 1)
    return None


def _stool_corners(place: Array, yaw: float, height: float, camera: Camera) -> list[Array]:
    """Corners `[frames, 3]` of a stool at a height above the ground, back ones first."""
    across, along = np.array([np.cos(yaw), -np.sin(yaw)]), np.array([np.sin(yaw), np.cos(yaw)])
    corners = []
    for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1)):
        x, z = place + 0.19 * (a * across + b * along)
        corners.append(np.tile([x, height, z], (len(camera.zoom), 1)))
    return corners


def _keypoints(
    joints: dict[str, Array], pixels: dict[str, Array], body: Body, size: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """float32 `[frames, 17, 3]`."""
    points = np.stack([pixels[name] for name in KEYPOINT_NAMES], axis=1)
    inside = np.all((points >= 0) & (points <= np.asarray(size) - 1), axis=-1)
    seen = np.ones_like(inside)
    for index, name in enumerate(KEYPOINT_NAMES):
        if name == "nose" or name.partition("_")[2] in ("eye", "ear"):
            # A face point well behind the head's middle is hidden by the head.
            seen[:, index] = joints[name][:, 2] > joints["head"][:, 2] - 0.3 * body.head
    score = (inside & seen).astype(np.float32)[..., None]
    return np.concatenate([points.astype(np.float32) * score, score], axis=-1)
