"""Reads folders of numbered pictures as videos (`video.frame_names` says which pictures).

The number of a picture is its time: where a number is missing, the picture before it is shown
longer, as in a video that drops frames. The lowest number is the first frame, be it 0 or 1.
"""

from __future__ import annotations

import os
import pathlib
import sys

import numpy as np

from perfnet_tf.video.decode import Video
from perfnet_tf.video.frame_names import number_frames
from perfnet_tf.video.opening import VideoError
from perfnet_tf.video.picture_files import read_picture
from perfnet_tf.video.sampling import GridResampler
from perfnet_tf.video.segments import frames_between, stack_frames
from perfnet_tf.video.shapes import check_size, resize, target_size


def read_frame_folder(
    folder: str | os.PathLike[str],
    rate: float,
    *,
    first: int = 0,
    count: int | None = None,
    fps: float | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
    max_bytes: int | None = None,
) -> tuple[Video, int]:
    """Reads a folder of numbered pictures as `read_video` reads a video of these frames.

    Args:
        folder: the folder.
        rate: frames per second of the pictures.
        first: frames before the wanted ones.
        count: how many frames are wanted; None wants all that follow.
        fps, short_side, max_frames, max_bytes: as of `read_video`.

    Returns:
        The video, its timestamps and source indices counted from the first picture of the folder;
        and the number of frames that are missing between others.

    Raises:
        VideoError: fewer pictures than `first` and `count` say, or one that does not decode.
        InputError: no pictures, or several series of them.
    """
    folder = pathlib.Path(folder)
    try:
        numbered = number_frames(folder, os.listdir(folder))
    except OSError as error:
        raise VideoError(f"{folder} cannot be read: {error.strerror}.") from error
    lowest = min(numbered)
    available = max(numbered) - lowest + 1
    stop = available if count is None else first + count
    if not first < stop <= available:
        raise VideoError(
            f"Frames {first} to {stop - 1} are wanted. Received: {folder}, which has {available}."
        )
    wanted = [(n - lowest, path) for n, path in numbered.items() if first <= n - lowest < stop]
    if not wanted or wanted[0][0] != first:
        raise VideoError(
            f"The first frame must be there. Received: {folder} without frame {lowest + first}."
        )
    frames: list[np.ndarray] = []
    times: list[float] = []
    indices: list[int] = []
    grid = None if fps is None else GridResampler(fps)
    limit = sys.maxsize if max_frames is None else max_frames
    stopped = False
    size: tuple[int, ...] = ()
    nexts = [*(offset for offset, _ in wanted[1:]), stop]
    for (offset, path), following in zip(wanted, nexts, strict=True):
        repeats = 1 if grid is None else grid.advance((following - first) / rate)
        if not repeats:
            continue
        picture = read_picture(path)
        check_size(picture.shape[1::-1], path)
        size = size or picture.shape
        if picture.shape != size:
            raise VideoError(
                f"Frames of a clip have one size. Received: {path} of "
                f"{picture.shape[1]}x{picture.shape[0]}, after {size[1]}x{size[0]}."
            )
        rgb = resize(picture, target_size(picture.shape[1::-1], short_side, path))
        if max_bytes is not None and not frames:
            limit = min(limit, max(1, max_bytes // rgb.nbytes))
        stopped = len(frames) + repeats > limit
        for _ in range(min(repeats, limit - len(frames))):
            times.append((offset if fps is None else first) / rate)
            if fps is not None:
                times[-1] += len(frames) / fps
            frames.append(rgb)
            indices.append(offset)
        if stopped:
            break
    return Video(
        frames=stack_frames(frames),
        timestamps=np.array(times),
        source_fps=rate,
        num_source_frames=available,
        truncated=False,
        stopped=stopped,
        source_indices=np.array(indices, np.int64),
    ), stop - first - len(wanted)


def frames_of_segment(start: float, end: float, rate: float) -> tuple[int, int]:
    """`first` and `count` of `read_frame_folder` for the seconds from `start` to before `end`."""
    first, stop = frames_between(start, end, rate)
    return first, stop - first
