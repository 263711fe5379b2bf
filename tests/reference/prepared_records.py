"""What is in prepared records, read from the files themselves."""

from __future__ import annotations

import hashlib
import pathlib

from small_clips import find_clips

from perfnet_tf.records import reader
from perfnet_tf.records.folder import read_dataset_info


def intact_ids(folder: pathlib.Path) -> list[str]:
    """The ids in the records themselves, every frame decoded; shards checked by their digests."""
    info = read_dataset_info(folder)
    ids = []
    for split in info.splits:
        for name, digest in zip(
            info.split(split)["shards"], info.split(split)["sha256"], strict=True
        ):
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for serialized in reader.read_serialized(folder, split):
            record = reader.decode_record(serialized.numpy(), info)
            assert record.num_frames >= 2
            ids.append(record.clip_id)
    return sorted(ids)


def all_ids(videos: pathlib.Path) -> list[str]:
    """The ids of the videos in a folder."""
    return sorted(clip.clip_id for clip in find_clips(videos))
