"""Keypoints of prepared records, written in the formats of other programs."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.pose.keypoint_formats.coco import write_coco
from perfnet_tf.pose.keypoint_formats.labelled import LabelledKeypoints
from perfnet_tf.pose.keypoint_formats.pyskl import write_pyskl
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.reader import check_record, read_record
from perfnet_tf.streams import KEYPOINTS, SOURCES

Entries = dict[str, list[schema.IndexEntry]]
Writer = Callable[[pathlib.Path, Iterator[LabelledKeypoints], Entries], None]

#: Format -> what writes it.
KEYPOINT_WRITERS: dict[str, Writer] = {
    "pyskl": lambda path, clips, entries: write_pyskl(
        path, clips, {split: [one.clip_id for one in some] for split, some in entries.items()}
    ),
    "coco": lambda path, clips, entries: write_coco(path, clips),
}


def export_keypoints(
    data_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    format_name: str,
    *,
    splits: Sequence[str] | None = None,
    progress: Callable[[Sequence[schema.IndexEntry]], Iterator[schema.IndexEntry]] = iter,
) -> int:
    """Writes the keypoints of prepared records to one file.

    Args:
        data_dir: prepared dataset, with pose.
        output: the file; it must not exist.
        format_name: `pyskl` or `coco` (`pose.keypoint_formats`).
        splits: splits to write; None writes all.
        progress: wraps the iteration over the clips of a split.

    Returns:
        The number of clips written.

    Raises:
        InputError: an unknown format or split, records without pose or damaged ones, an output
            that exists.
    """
    check_choice("keypoints", format_name, KEYPOINT_WRITERS)
    info = read_dataset_info(str(data_dir))
    if info.pose is None:
        raise InputError(
            f"The records must hold keypoints. Received: {data_dir}, which has none. Prepare the "
            "videos with `pose`."
        )
    path = pathlib.Path(output)
    if path.exists():
        raise InputError(f"`output` must be a new file. Received: {path}, which exists.")
    if not path.parent.is_dir():
        raise InputError(f"`output` must be in a folder that exists. Received: {path}.")
    entries = {
        split: list(read_index(str(data_dir), split)) for split in splits or tuple(info.splits)
    }

    def clips() -> Iterator[LabelledKeypoints]:
        for split, some in entries.items():
            for entry in progress(some):
                yield _decode(read_record(str(data_dir), info, split, entry), info)

    KEYPOINT_WRITERS[format_name](path, clips(), entries)
    return sum(map(len, entries.values()))


def _decode(serialized: bytes, info: schema.DatasetInfo) -> LabelledKeypoints:
    """A record's keypoints, without decoding its frames."""
    clip_id, labels, *_ = check_record(serialized, info, complete=False)
    example = tf.train.SequenceExample.FromString(serialized)
    context, lists = example.context.feature, example.feature_lists.feature_list
    source = SOURCES[KEYPOINTS]
    frames = lists[source.key].feature
    if not frames:
        raise InputError(f"The record of {clip_id} must hold keypoints. Received: none.")
    values = np.array([frame.float_list.value for frame in frames], np.float32)
    shape = source.frame_shape(people=info.max_people)
    return LabelledKeypoints(
        name=clip_id,
        label=labels[0] if info.label_kind == SINGLE_LABEL else list(labels),
        keypoints=values.reshape(len(frames), *shape),
        size=(
            context[schema.WIDTH_KEY].int64_list.value[0],
            context[schema.HEIGHT_KEY].int64_list.value[0],
        ),
        fps=context[schema.FRAME_RATE_KEY].float_list.value[0],
    )
