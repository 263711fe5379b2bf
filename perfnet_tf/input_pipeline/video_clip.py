"""A clip of a video that is not in records: what networks of each stream see of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig, PoseRenderConfig
from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import FLOW_BOUND
from perfnet_tf.input_pipeline.augment import central_view, cut_streams
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.pose.people import People
from perfnet_tf.streams import BOXES, FLOW, KEYPOINTS, POSE, RGB

_SOURCES = (RGB, FLOW, KEYPOINTS, BOXES)


def sources_of_frames(
    frames: np.ndarray,
    indices: np.ndarray,
    streams: Collection[str],
    find_people: Callable[[np.ndarray], People],
) -> dict[str, np.ndarray]:
    """Computes what `perfnet prepare` would store of some frames of a video.

    Args:
        frames: uint8 RGB `[frames, height, width, 3]`, consecutive frames.
        indices: int `[count]`: the frames wanted.
        streams: what is to be seen of them.
        find_people: gives the people in the frames at some indices; called for the pose stream.

    Returns:
        `rgb`, and what `streams` are made of, `[count, ...]`. Flow is from each frame to the next;
        the last frame has that of the one before it.

    Raises:
        InputError: flow of a single frame.
    """
    result = {RGB: frames[indices]}
    if FLOW in streams:
        result[FLOW] = _flow(frames, indices)
    if POSE in streams:
        people = find_people(indices)
        result[KEYPOINTS], result[BOXES] = people.keypoints, people.boxes
    return result


def central_streams(
    sources: Mapping[str, np.ndarray],
    clip: ClipConfig,
    streams: Collection[str],
    render: PoseRenderConfig,
) -> dict[str, tf.Tensor]:
    """Each stream of one clip, cut centrally as evaluation cuts it.

    Args:
        sources: of `sources_of_frames`, or of records; as many frames as `clip` has.
        clip: gives the size.
        streams: those wanted.
        render: how people are drawn.

    Returns:
        stream -> `[frames, height, width, channels]`.
    """
    pieces = {key: tf.constant(sources[key]) for key in _SOURCES if key in sources}
    cut = {key: value[None] for key, value in cut_streams(pieces, clip, central_view()).items()}
    return {key: value[0] for key, value in streams_of(cut, set(streams), render).items()}


def _flow(frames: np.ndarray, indices: np.ndarray) -> np.ndarray:
    from perfnet_tf.flow.tvl1 import compute_tvl1  # brings XLA along

    if len(frames) < 2:
        raise InputError("Flow needs a video of at least 2 frames. Received: one of 1 frame.")
    firsts = np.minimum(indices, len(frames) - 2)
    flow = {first: compute_tvl1(frames[first : first + 2])[0] for first in np.unique(firsts)}
    return np.asarray(np.clip(np.stack([flow[first] for first in firsts]), -FLOW_BOUND, FLOW_BOUND))
