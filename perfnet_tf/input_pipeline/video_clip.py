"""A clip of a video that is not in records: what networks of each stream see of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig, PoseRenderConfig
from perfnet_tf.input_pipeline.augment import central_view, cut_streams
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.streams import SOURCES


def central_streams(
    sources: Mapping[str, np.ndarray],
    clip: ClipConfig,
    streams: Collection[str],
    render: PoseRenderConfig,
) -> dict[str, tf.Tensor]:
    """Each stream of one clip, cut centrally as evaluation cuts it.

    Args:
        sources: of `sources_of_frames` (`preparation.frame_sources`), or of records; as many frames
            as `clip` has.
        clip: gives the size.
        streams: those wanted.
        render: how people are drawn.

    Returns:
        stream -> `[frames, height, width, channels]`.
    """
    pieces = {key: tf.constant(sources[key]) for key in SOURCES if key in sources}
    cut = {key: value[None] for key, value in cut_streams(pieces, clip, central_view()).items()}
    return {key: value[0] for key, value in streams_of(cut, set(streams), render).items()}
