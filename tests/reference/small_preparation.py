"""Preparations of a few small clips, and what they wrote."""

import pathlib

from prepared_records import read_serialized
from small_clips import CLASSES, find_clips

from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records import reader
from perfnet_tf.records.folder import read_dataset_info

CONFIG = PrepareConfig(
    name="toy", short_side=24, pose="keypoints", max_people=2, flow="dis", clips_per_shard=2
)


def prepare(videos, output, config=CONFIG, *, clips=None, **options):
    options = {"workers": 0, **options}
    return build_records(clips or find_clips(videos), output, config, CLASSES, **options)


def stored_ids(folder) -> list[str]:
    """The ids in the records themselves, whatever index and counts say."""
    info = read_dataset_info(folder)
    return [
        reader.parse_clip(record, indices=[0], streams=["rgb"], info=info)["clip_id"]
        .numpy()
        .decode()
        for split in info.splits
        for record in read_serialized(folder, split)
    ]


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
