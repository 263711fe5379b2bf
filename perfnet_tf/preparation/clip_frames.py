"""The frames of a clip: of a video, of a part of one, or of a folder of pictures."""

from __future__ import annotations

import os
from typing import Any

from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.video.decode import Video, VideoStream, read_video
from perfnet_tf.video.frame_folder import frames_of_segment, read_frame_folder
from perfnet_tf.video.segments import read_segment


def read_clip_frames(
    clip: SourceClip, frame_rate: float | None, **limits: Any
) -> tuple[Video, str | None]:
    """Reads a clip.

    Args:
        clip: the clip.
        frame_rate: frames per second of folders of pictures.
        limits: `fps`, `short_side`, `square_pixels`, `max_frames` and `max_bytes` of `read_video`.

    Returns:
        Its frames, and why some are missing (None: none are).

    Raises:
        InputError: the clip gives no frames, and why.
    """
    if os.path.isdir(clip.path):
        return _read_folder(clip, frame_rate, **limits)
    start, end = clip.start, clip.end
    if clip.first_frame is not None and clip.num_frames is not None:
        with VideoStream(clip.path) as stream:
            rate = stream.source_fps
        start, end = clip.first_frame / rate, (clip.first_frame + clip.num_frames) / rate
    if start is None or end is None:
        return read_video(clip.path, **limits), None
    video, ends_early = read_segment(clip.path, start, end, **limits)
    if not ends_early:
        return video, None
    return video, (
        f"The video ends after {video.timestamps[-1]:.1f} s, before its segment from {start:g} to "
        f"{end:g} s does: what is there was kept."
    )


def _read_folder(
    clip: SourceClip, frame_rate: float | None, **limits: Any
) -> tuple[Video, str | None]:
    del limits["square_pixels"]  # those of pictures are
    if frame_rate is None:
        raise InputError(
            f"A folder of frames needs its frame rate, `fps_of_frames`. Received: {clip.path}."
        )
    first, count = clip.first_frame or 0, clip.num_frames
    if clip.start is not None and clip.end is not None:
        first, count = frames_of_segment(clip.start, clip.end, frame_rate)
    video, missing = read_frame_folder(clip.path, frame_rate, first=first, count=count, **limits)
    if not missing:
        return video, None
    return video, (
        f"Numbered pictures that are missing: {missing}. The one before each was shown longer."
    )
