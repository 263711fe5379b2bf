"""Single clips of a prepared dataset, found by their ids."""

from __future__ import annotations

import difflib
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.label_kinds import NAME_SEPARATOR
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_failures, read_index
from perfnet_tf.records.reader import check_record, parse_clip, read_record
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.streams import FLOW, POSE, RGB, SOURCES, STREAMS


@dataclass(frozen=True)
class StoredClip:
    """A clip of a prepared dataset, still encoded.

    Attributes:
        entry: where it is.
        split: its split.
        label_name: its class, or its classes with "; " between.
        fps: stored frames per second.
        timestamps: float64 `[frames]`, seconds from the start of the video.
        serialized: the SequenceExample.
        info: of the dataset.
    """

    entry: IndexEntry
    split: str
    label_name: str
    fps: float
    timestamps: np.ndarray
    serialized: bytes
    info: DatasetInfo

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that the records can feed."""
        # Pose is drawn on RGB: people look at one above the other.
        names = dict.fromkeys((RGB, POSE, FLOW, *STREAMS))
        return tuple(
            name
            for name in names
            if all(SOURCES[source].is_held(self.info) for source in STREAMS[name].sources)
        )

    def decode(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The frames at `indices`, as `records.reader.parse_clip` gives them.

        Raises:
            InputError: the record is damaged.
        """
        try:
            parsed = parse_clip(
                tf.constant(self.serialized),
                indices=tf.constant(np.asarray(indices, np.int32)),
                streams=self.streams,
                info=self.info,
            )
        except tf.errors.OpError as error:
            raise InputError(
                f"The record of {self.entry.clip_id} is damaged: {first_line(error)} "
                "perfnet inspect --verify lists what else is."
            ) from error
        return {name: value.numpy() for name, value in parsed.items()}


def open_clip(
    data_dir: str | pathlib.Path, clip_id: str, *, split: str | None = None
) -> StoredClip:
    """Finds a clip, without decoding it.

    Args:
        data_dir: a prepared dataset.
        clip_id: as in its index.
        split: where to look; None looks in all.

    Raises:
        InputError: no such dataset, split or clip; for a clip the nearest ids are named.
    """
    info = read_dataset_info(data_dir)
    known = []
    for name in info.splits if split is None else (split,):
        for entry in read_index(data_dir, name):
            if entry.clip_id == clip_id:
                return _open(data_dir, info, name, entry)
            known.append(entry.clip_id)
    where = f"{data_dir}" if split is None else f"the split {split} of {data_dir}"
    near = _nearest(clip_id, known)
    hint = f" Did you mean {' or '.join(near)}?" if near else " See its .index.jsonl files."
    failed = next((f for f in read_failures(data_dir) if f.clip_id == clip_id and not f.kept), None)
    if failed is not None:
        hint = f" It has no record, because: {failed.cause}"
    raise InputError(f"clip must be an id in {where}. Received: {clip_id!r}.{hint}")


def open_examples(
    data_dir: str | pathlib.Path, *, split: str | None = None, num_classes: int = 3
) -> list[StoredClip]:
    """The first clip, by id, of each of the first classes that have any.

    Args:
        data_dir: a prepared dataset.
        split: where to look; None looks in all.
        num_classes: the most classes.

    Raises:
        InputError: no such dataset or split, or no clip in it.
    """
    info = read_dataset_info(data_dir)
    first: dict[int, tuple[str, IndexEntry]] = {}
    for name in info.splits if split is None else (split,):
        for entry in read_index(data_dir, name):
            known = first.get(entry.label)
            if known is None or entry.clip_id < known[1].clip_id:
                first[entry.label] = name, entry
    if not first:
        raise InputError(f"There must be a clip to look at. Received: {data_dir}, without any.")
    chosen = [first[label] for label in sorted(first)[:num_classes]]
    return [_open(data_dir, info, name, entry) for name, entry in chosen]


def _open(
    data_dir: str | pathlib.Path, info: DatasetInfo, split: str, entry: IndexEntry
) -> StoredClip:
    serialized = read_record(data_dir, info, split, entry)
    check_record(serialized, info, complete=False)
    example = tf.train.SequenceExample.FromString(serialized)
    context = example.context.feature
    timestamps = example.feature_lists.feature_list[schema.TIMESTAMP_KEY].feature
    return StoredClip(
        entry=entry,
        split=split,
        label_name=NAME_SEPARATOR.join(
            name.decode() for name in context[schema.LABEL_TEXT_KEY].bytes_list.value
        ),
        fps=context[schema.FRAME_RATE_KEY].float_list.value[0],
        timestamps=np.array([time.int64_list.value[0] for time in timestamps]) / 1e6,
        serialized=serialized,
        info=info,
    )


def _nearest(clip_id: str, known: Sequence[str]) -> list[str]:
    """Up to three ids: those that contain what was typed, else those that look like it."""
    containing = [name for name in known if clip_id and clip_id.lower() in name.lower()]
    return sorted(containing)[:3] or difflib.get_close_matches(clip_id, known, n=3)
