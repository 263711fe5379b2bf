"""OpenCV's resize in NumPy: the same pictures, more slowly, where OpenCV cannot be loaded.

Source: `cv2.resize` with INTER_AREA and INTER_LINEAR; sums are taken in its order and precision. On
x86-64 8-bit pictures are OpenCV's to the bit, and so are 16-bit ones but for linear interpolation,
which OpenCV leaves to another library there: some 4 of 65535 levels apart at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Places = npt.NDArray[np.intp]

#: Of OpenCV's fixed-point weights of 8-bit pictures.
_ONE = np.float32(2048)
#: A share of a pixel that OpenCV leaves out of an area.
_NEGLIGIBLE = 1e-3


def resize_picture(picture: np.ndarray, width: int, height: int, *, area: bool) -> np.ndarray:
    """A picture of another size.

    Args:
        picture: uint8 or uint16 `[height, width, channels]`.
        width, height: of the result.
        area: mean of the area under each pixel (INTER_AREA) instead of linear interpolation
            (INTER_LINEAR).

    Returns:
        `[height, width, channels]` of the same dtype.
    """
    old_height, old_width = picture.shape[:2]
    if (old_width, old_height) == (2 * width, 2 * height):
        area = True  # OpenCV's choice
    if not area or width > old_width or height > old_height:
        return _interpolate(picture, width, height, between_edges=area)
    if old_width % width == 0 and old_height % height == 0:
        return _average_blocks(picture, width, height)
    return _average_areas(picture, width, height)


def _average_blocks(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Means of whole pixels."""
    down, across = picture.shape[0] // height, picture.shape[1] // width
    blocks = picture.reshape(height, down, width, across, -1)
    total: npt.NDArray[np.int64] = blocks.sum(axis=(1, 3), dtype=np.int64)
    if down == across == 2:
        means = (total + 2) >> 2  # rounds halves up
    else:
        means = np.rint(total.astype(np.float32) * np.float32(1 / (down * across)))
    return np.asarray(means, picture.dtype)


def _average_areas(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Means in which pixels at an area's edge count as much as is inside."""
    columns = _sum_shares(_turn(picture).astype(np.float32), *_areas(picture.shape[1], width))
    means = _sum_shares(_turn(columns), *_areas(picture.shape[0], height))
    return np.rint(means).astype(picture.dtype)


def _turn(picture: np.ndarray) -> np.ndarray:
    """The picture with its columns as rows: rows are one piece of memory, and so faster to take."""
    return np.ascontiguousarray(picture.swapaxes(0, 1))


def _sum_shares(rows: _Floats, places: _Places, shares: _Floats) -> _Floats:
    total = np.zeros((places.shape[1], *rows.shape[1:]), np.float32)
    for place, share in zip(places, shares, strict=True):
        total += rows[place] * share[:, None, None]
    return total


def _areas(old: int, new: int) -> tuple[_Places, _Floats]:
    """Which pixels an area covers, and their shares of it: `[most covered pixels, new]` each.

    Areas that cover fewer pixels have shares of 0 at the end.
    """
    scale = 1 / (new / old)
    areas: list[list[tuple[int, float]]] = []
    for number in range(new):
        start, end = number * scale, number * scale + scale
        size = min(scale, old - start)
        last = min(int(np.floor(end)), old - 1)
        first = min(int(np.ceil(start)), last)
        covered = [(place, 1 / size) for place in range(first, last)]
        if first - start > _NEGLIGIBLE:
            covered.insert(0, (first - 1, (first - start) / size))
        if end - last > _NEGLIGIBLE:
            covered.append((last, min(end - last, 1.0, size) / size))
        areas.append(covered)
    most = max(map(len, areas))
    places, shares = np.zeros((most, new), np.intp), np.zeros((most, new), np.float32)
    for number, covered in enumerate(areas):
        places[: len(covered), number], shares[: len(covered), number] = zip(*covered, strict=True)
    return places, shares


def _interpolate(
    picture: np.ndarray, width: int, height: int, *, between_edges: bool
) -> np.ndarray:
    """Linear interpolation, between pixels' centres or, as INTER_AREA enlarges, their edges."""
    left, right, across = _neighbours(picture.shape[1], width, between_edges)
    top, bottom, down = _neighbours(picture.shape[0], height, between_edges)
    # Beyond the first and last centre OpenCV takes that column, but mixes that row with itself.
    across = np.where(left == right, np.float32(0), across)[:, None, None]
    down = down[:, None, None]
    columns = _turn(picture)
    if picture.dtype != np.uint8:
        values = columns.astype(np.float32)
        rows = _turn(values[left] * (1 - across) + values[right] * across)
        return np.rint(rows[top] * (1 - down) + rows[bottom] * down).astype(picture.dtype)
    levels: npt.NDArray[np.int32] = columns.astype(np.int32)
    mixed = levels[left] * _fixed(1 - across) + levels[right] * _fixed(across)
    rows = _turn(mixed >> 4)
    upper, lower = rows[top] * _fixed(1 - down), rows[bottom] * _fixed(down)
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).astype(np.uint8)


def _neighbours(old: int, new: int, between_edges: bool) -> tuple[_Places, _Places, _Floats]:
    """The pixels before and after each new one, and the share of the one after: `[new]` each."""
    number, scale = np.arange(new), 1 / (new / old)
    if between_edges:
        before = np.floor(number * scale).astype(np.intp)
        share = ((number + 1) - (before + 1) * (new / old)).astype(np.float32)
        share = np.where(share <= 0, np.float32(0), share - np.floor(share))
    else:
        place = ((number + 0.5) * scale - 0.5).astype(np.float32)
        before = np.floor(place).astype(np.intp)
        share = place - before.astype(np.float32)
    return np.clip(before, 0, old - 1), np.clip(before + 1, 0, old - 1), share


def _fixed(share: Any) -> npt.NDArray[np.int32]:
    return np.asarray(np.rint(share * _ONE), np.int32)
