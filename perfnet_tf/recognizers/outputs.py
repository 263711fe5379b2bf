"""What networks compute of every clip of a split."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from perfnet_tf.config import ClipConfig
from perfnet_tf.input_pipeline.augment import ClipView
from perfnet_tf.input_pipeline.dataset import build_dataset, streams_of
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.streams import CLIP_ID, LABEL


def clip_bar(purpose: str, total: int, *, show: bool) -> tqdm:
    """A bar on standard error that counts clips, for `outputs_of_views`."""
    return tqdm(
        total=total,
        desc=purpose,
        unit="clip",
        disable=not show,
        mininterval=0.1 if sys.stderr.isatty() else 10,  # a log file keeps every update
    )


def outputs_of_views(
    networks: Mapping[int, Recognizer],
    clip: ClipConfig,
    views: Sequence[ClipView],
    data: str,
    split: str,
    batch_size: int,
    bar: tqdm,
) -> Iterator[tuple[np.ndarray, tuple[str, ...], dict[int, np.ndarray]]]:
    """A pass over a split for each view, for all networks at once: decoding is much of the work.

    Args:
        networks: any key -> network; each sees its own stream.
        clip: what is cut of every video.
        views: where it is cut.
        data, split: a prepared dataset, and a split of it.
        batch_size: clips at once.
        bar: is advanced by every clip.

    Yields:
        Labels, int32 `[clips]`, or int32 `[clips, classes]`, 1 for each of a clip's classes
        (`label_kinds`); the clips' names; and what each network's `predict` returns,
        float32 `[clips, values]`. All in the order of the index.
    """
    streams = sorted({network.stream for network in networks.values()})

    @tf.function(autograph=False)
    def compute(sources: dict[str, tf.Tensor]) -> dict[int, tf.Tensor]:
        values = {}
        for key, network in networks.items():
            seen = streams_of(sources, [network.stream], network.render)
            values[key] = network.predict(seen[network.stream])
        return values

    for view in views:
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
        # One trace for all views, and for the last, smaller batch.
        outputs_of_batch = compute.get_concrete_function(spec)
        labels: list[np.ndarray] = []
        clip_ids: list[str] = []
        parts: dict[int, list[np.ndarray]] = {key: [] for key in networks}
        for batch in dataset:
            labels.append(batch[LABEL].numpy().astype(np.int32))
            clip_ids += [name.decode() for name in batch[CLIP_ID].numpy()]
            for key, value in outputs_of_batch({name: batch[name] for name in spec}).items():
                parts[key].append(value.numpy())
            bar.update(len(labels[-1]))
        outputs = {key: np.concatenate(values) for key, values in parts.items()}
        yield np.concatenate(labels), tuple(clip_ids), outputs
