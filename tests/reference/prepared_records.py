"""What is in prepared records, read from the files themselves."""

from __future__ import annotations

import hashlib
import pathlib

import tensorflow as tf
from small_clips import find_clips

from perfnet_tf.inspection.stored_clip import open_clip
from perfnet_tf.records import reader
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import ClipRecord


def read_serialized(folder: str | pathlib.Path, split: str) -> tf.data.Dataset:
    """The records of a split in stored order, as its shards hold them."""
    info = read_dataset_info(folder)
    records = tf.data.TFRecordDataset(reader.shard_paths(folder, split))
    return records.apply(tf.data.experimental.assert_cardinality(info.split(split)["num_clips"]))


def read_clip(folder: str | pathlib.Path, clip_id: str, *, split: str | None = None) -> ClipRecord:
    """One whole clip, every frame decoded."""
    clip = open_clip(folder, clip_id, split=split)
    return reader.decode_record(clip.serialized, clip.info)


def intact_ids(folder: pathlib.Path) -> list[str]:
    """The ids in the records themselves, every frame decoded; shards checked by their digests."""
    info = read_dataset_info(folder)
    ids = []
    for split in info.splits:
        for name, digest in zip(
            info.split(split)["shards"], info.split(split)["sha256"], strict=True
        ):
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for serialized in read_serialized(folder, split):
            record = reader.decode_record(serialized.numpy(), info)
            assert record.num_frames >= 2
            ids.append(record.clip_id)
    return sorted(ids)


def all_ids(videos: pathlib.Path) -> list[str]:
    """The ids of the videos in a folder."""
    return sorted(clip.clip_id for clip in find_clips(videos))
