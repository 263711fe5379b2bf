"""What networks compute of every clip of a split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline.augment import ClipView
from perfnet_tf.input_pipeline.dataset import build_dataset, streams_of
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.streams import CLIP_ID, LABEL


def outputs_of_view(
    networks: Mapping[int, Recognizer],
    clip: ClipConfig,
    view: ClipView,
    data: str,
    split: str,
    batch_size: int,
    bar: tqdm,
) -> tuple[np.ndarray, tuple[str, ...], dict[int, np.ndarray]]:
    """One pass over a split, for several networks at once: decoding is a large part of the work.

    Args:
        networks: any key -> network; each sees its own stream.
        clip: what is cut of every video.
        view: where it is cut.
        data, split: a prepared dataset, and a split of it.
        batch_size: clips at once.
        bar: is advanced by every clip.

    Returns:
        Labels, int32 `[clips]`; the clips' names; and what each network's `predict` returns,
        float32 `[clips, values]`. All in the order of the index.
    """
    streams = sorted({network.stream for network in networks.values()})
    dataset = build_dataset(
        data,
        split,
        clip=clip,
        streams=streams,
        batch_size=batch_size,
        training=False,
        view=view,
        with_clip_ids=True,
    )
    spec = {
        key: value for key, value in dataset.element_spec.items() if key not in (LABEL, CLIP_ID)
    }

    # With this signature the last, smaller batch is not traced again.
    @tf.function(input_signature=[spec], autograph=False)
    def compute(sources: dict[str, tf.Tensor]) -> dict[int, tf.Tensor]:
        values = {}
        for key, network in networks.items():
            seen = streams_of(sources, [network.stream], network.render)
            values[key] = network.predict(seen[network.stream])
        return values

    labels: list[np.ndarray] = []
    clip_ids: list[str] = []
    parts: dict[int, list[np.ndarray]] = {key: [] for key in networks}
    for batch in dataset:
        labels.append(batch[LABEL].numpy())
        clip_ids += [name.decode() for name in batch[CLIP_ID].numpy()]
        for key, value in compute({name: batch[name] for name in spec}).items():
            parts[key].append(value.numpy())
        bar.update(len(labels[-1]))
    outputs = {key: np.concatenate(values) for key, values in parts.items()}
    return np.concatenate(labels), tuple(clip_ids), outputs
