"""Turns and mirrors that a file's display matrix asks for."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perfnet_tf.video.optional_opencv import find_opencv

DisplayMatrix = tuple[int, ...]

_QUARTER_TURNS = {90: 0, 270: 2}  # the codes of cv2.rotate
_BOTH_AXES, _UPSIDE_DOWN, _SIDEWAYS = -1, 0, 1  # the codes of cv2.flip
_FLIPPED_AXES = {_BOTH_AXES: (0, 1), _UPSIDE_DOWN: (0,), _SIDEWAYS: (1,)}


@dataclass(frozen=True)
class Orientation:
    """How stored frames are brought upright: turned, then mirrored.

    Attributes:
        degrees: clockwise.
        flip: code of `cv2.flip` after the turn, or None.
    """

    degrees: int = 0
    flip: int | None = None

    @property
    def swaps_sides(self) -> bool:
        """Whether width becomes height."""
        return self.degrees in _QUARTER_TURNS

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """`[height, width, channels]`, upright.

        Raises:
            MissingLibraryError: OpenCV cannot be loaded, for an angle that is no quarter turn.
        """
        if self.degrees and not self.swaps_sides:
            frame = _turn_by_degrees(frame, self.degrees)
        cv2 = find_opencv()
        if cv2 is None:
            return self._apply_by_numpy(frame)
        if self.swaps_sides:
            frame = cv2.rotate(frame, _QUARTER_TURNS[self.degrees])
        return frame if self.flip is None else np.asarray(cv2.flip(frame, self.flip))

    def _apply_by_numpy(self, frame: np.ndarray) -> np.ndarray:
        """The quarter turn and the mirror, to the same frame as OpenCV's, several times slower."""
        if self.swaps_sides:
            frame = np.rot90(frame, -self.degrees // 90)
        if self.flip is not None:
            frame = np.flip(frame, _FLIPPED_AXES[self.flip])
        return np.ascontiguousarray(frame)


def _turn_by_degrees(frame: np.ndarray, degrees: int) -> np.ndarray:
    """The frame turned clockwise at its own size, with black corners."""
    from perfnet_tf.opencv import cv2

    height, width = frame.shape[:2]
    centre = ((width - 1) / 2, (height - 1) / 2)
    turn = cv2.getRotationMatrix2D(centre, -degrees, 1)
    return np.asarray(cv2.warpAffine(frame, turn, (width, height)))


def matrix_from_angle(degrees: int) -> DisplayMatrix | None:
    """The display matrix of a turn without a mirror; None for none.

    Args:
        degrees: counterclockwise.
    """
    if degrees == 0:
        return None
    cosine, sine = (round(f(math.radians(degrees)) * 2**16) for f in (math.cos, math.sin))
    return (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 30)


def orientation_from_matrix(matrix: DisplayMatrix | None) -> Orientation:
    """The orientation that FFmpeg's players and its command line give a stream.

    Source: `autorotate` of FFmpeg's fftools. An angle that is no quarter turn keeps the frame's
    size, with black corners.

    Args:
        matrix: nine 16.16 and 2.30 fixed-point numbers, row by row; None without one.
    """
    if matrix is None:
        return Orientation()
    scales = math.hypot(matrix[0], matrix[3]), math.hypot(matrix[1], matrix[4])
    if 0 in scales:
        return Orientation()
    degrees = math.degrees(math.atan2(matrix[1] / scales[1], matrix[0] / scales[0]))
    degrees = round(degrees) % 360
    if degrees == 90:
        return Orientation(90) if matrix[3] <= 0 else Orientation(270, _UPSIDE_DOWN)
    if degrees == 270:
        return Orientation(270) if matrix[3] >= 0 else Orientation(90, _UPSIDE_DOWN)
    if degrees == 180:
        flips = {(True, True): _BOTH_AXES, (True, False): _SIDEWAYS, (False, True): _UPSIDE_DOWN}
        return Orientation(0, flips.get((matrix[0] < 0, matrix[4] < 0)))
    if degrees == 0:
        return Orientation(0, _UPSIDE_DOWN if matrix[4] < 0 else None)
    return Orientation(degrees)
