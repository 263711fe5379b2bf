"""Sources of streams computed from the frames of a video, without records."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import numpy.typing as npt

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.flow.encoding import FLOW_BOUND
from perfnet_tf.pose.people import People
from perfnet_tf.streams import BOXES, FLOW, KEYPOINTS, RGB, SOURCES, STREAMS, Source


def sources_of_frames(
    frames: np.ndarray,
    fps: float,
    streams: Collection[str],
    *,
    indices: npt.ArrayLike | None = None,
    find_people: Callable[[np.ndarray], People] | None = None,
) -> dict[str, np.ndarray]:
    """Everything that `streams` are made of, for `cut_streams` and then `streams_of`.

    Registered sources are computed by their `Source.extract` of all frames, flow by TV-L1, clipped
    as records clip it. Only what `streams` need is computed.

    Args:
        frames: uint8 RGB `[frames, height, width, 3]`, consecutive frames of a video.
        fps: frames per second.
        streams: names of streams.
        indices: int `[chosen]`, the frames to return; None returns all.
        find_people: for the pose stream: `find_people(indices)` gives the people in the frames at
            those places (int `[chosen]`), such as `lambda i: estimator(frames[i])`.

    Returns:
        Source name -> `[chosen, *Source.shape]`. `rgb` is always there. Flow is from each frame to
        the next; the last frame has that of the one before it.

    Raises:
        InputError: an unknown stream, pose without `find_people`, flow of a single frame, or an
            `extract` that returns another shape.
    """
    chosen = np.arange(len(frames)) if indices is None else np.asarray(indices)
    result = {RGB: frames[chosen]}
    for stream in streams:
        check_choice("stream", stream, STREAMS)
    names = {name for stream in streams for name in STREAMS[stream].sources}
    if names & {KEYPOINTS, BOXES}:
        if find_people is None:
            raise InputError("Streams made of keypoints need `find_people`. Received: none.")
        people = find_people(chosen)
        result |= {KEYPOINTS: people.keypoints, BOXES: people.boxes}
    if FLOW in names:
        result[FLOW] = _flow(frames, chosen)
    for name in SOURCES:
        if name in names - result.keys():
            result[name] = extract_source(SOURCES[name], frames, fps)[chosen]
    return result


def extract_source(source: Source, frames: np.ndarray, fps: float) -> np.ndarray:
    """A registered source of a whole video, in its dtype.

    Raises:
        InputError: `extract` returns another shape, or values that are not finite.
    """
    if source.extract is None:
        raise InputError(f"The source {source.name!r} has no `extract` to compute it with.")
    values = np.asarray(source.extract(frames, fps), source.dtype)
    height, width = frames.shape[1:3]
    expected = (len(frames), *source.frame_shape(height=height, width=width))
    fits = len(values.shape) == len(expected) and all(
        size in (None, actual) for actual, size in zip(values.shape, expected, strict=True)
    )
    if not fits or not np.isfinite(values).all():
        raise InputError(
            f"`extract` of {source.name!r} must return finite {list(expected)}. "
            f"Received: {list(values.shape)}{'' if fits else ', another shape'}."
        )
    return values


def _flow(frames: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """From each frame to the next; the last frame has that of the one before it."""
    from perfnet_tf.flow.tvl1 import compute_tvl1_at  # brings TensorFlow along

    if len(frames) < 2:
        raise InputError("Flow needs a video of at least 2 frames. Received: one of 1 frame.")
    firsts, places = np.unique(np.minimum(indices, len(frames) - 2), return_inverse=True)
    flow = compute_tvl1_at(frames, firsts)[places]
    return np.asarray(np.clip(flow, -FLOW_BOUND, FLOW_BOUND))
