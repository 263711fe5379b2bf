"""Frames that say their number, as videos without loss and as folders of pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

import cv2
import numpy as np

HEIGHT, WIDTH = 48, 80
_BITS = 8


def paint(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """The number in eight bits on the left, white or black; noise of the number on the right."""
    frame = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    for bit in range(_BITS):
        rows = slice(bit * height // _BITS, (bit + 1) * height // _BITS)
        frame[rows, : width // 2] = 255 * (number >> bit & 1)
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number that `paint` painted."""
    height, width = frame.shape[:2]
    rows = [(2 * bit + 1) * height // (2 * _BITS) for bit in range(_BITS)]
    return int(sum((frame[row, width // 4].mean() > 128) << bit for bit, row in enumerate(rows)))


def numbers(frames: Iterable[np.ndarray]) -> list[int]:
    """The numbers of frames."""
    return [read_number(frame) for frame in frames]


def write_lossless(path: pathlib.Path, num_frames: int, fps: float = 25) -> pathlib.Path:
    """A video whose frames decode to exactly what was painted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), fps, (WIDTH, HEIGHT))
    for number in range(num_frames):
        writer.write(paint(number)[..., ::-1])
    writer.release()
    return path


def write_pictures(
    folder: pathlib.Path,
    num_frames: int,
    *,
    name: str = "img_{:05d}.png",
    first: int = 1,
    without: Iterable[int] = (),
) -> pathlib.Path:
    """A folder of the same frames; those of `without` (counted from 0) are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in sorted({*range(num_frames)} - {*without}):
        cv2.imwrite(str(folder / name.format(first + number)), paint(number)[..., ::-1])
    return folder
