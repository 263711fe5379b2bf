"""Prepared datasets that share another's records: other splits of the clips of a prepared one.

A subset is a folder with `dataset.json` and the index files of its splits, whose shards are those
of the dataset that it was made of, by relative path. Every index-based reader accepts it; it takes
kilobytes and needs the original records.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from perfnet_tf.errors import InputError
from perfnet_tf.files import write_atomically
from perfnet_tf.records.folder import (
    index_file,
    index_line,
    read_dataset_info,
    read_failures,
    read_index,
    record_path,
    write_dataset_info,
)
from perfnet_tf.records.schema import FAILURES_FILE, DatasetInfo, IndexEntry, SplitInfo


def write_subset(
    data_dir: str | pathlib.Path,
    folder: str | pathlib.Path,
    splits: Mapping[str, Collection[str]],
    *,
    name: str,
    parameters: Mapping[str, Any],
) -> DatasetInfo:
    """Writes other splits of a prepared dataset's clips; what is in `folder` is overwritten.

    Args:
        data_dir: a prepared dataset, or a subset of one.
        folder: made if missing; usually inside of `data_dir`, so that they move together.
        splits: split name -> ids of its clips. Ids that have no record, because their video could
            not be read, are left out.
        name: of the subset as a dataset; runs identify their data by it.
        parameters: what decided the subset; stored with the dataset's own parameters.

    Returns:
        What its `dataset.json` says.

    Raises:
        InputError: no prepared dataset, or a split none of whose clips has a record.
    """
    folder = pathlib.Path(folder).resolve()
    info = read_dataset_info(data_dir)
    stored: dict[str, tuple[str, IndexEntry]] = {}  # clip -> where its record is
    for split in info.splits:
        for entry in read_index(data_dir, split):
            stored.setdefault(entry.clip_id, (split, entry))
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, clip_ids in splits.items():
        wanted = set(clip_ids)
        chosen = [place for clip_id, place in stored.items() if clip_id in wanted]
        if not chosen:
            raise InputError(
                f"A split must have clips. Received: none of the {len(wanted)} of {split!r} is "
                f"in {data_dir}. Check that the lists belong to this dataset."
            )
        written[split] = _write_split(split, chosen, info, data_dir, folder)
    failures = [json.dumps(dataclasses.asdict(one)) + "\n" for one in read_failures(data_dir)]
    write_atomically(folder / FAILURES_FILE, "".join(failures), per_process=True)
    subset = dataclasses.replace(
        info,
        name=name,
        splits=written,
        parameters={**info.parameters, **parameters},
    )
    write_dataset_info(folder, subset)
    return subset


def _write_split(
    split: str,
    chosen: list[tuple[str, IndexEntry]],
    info: DatasetInfo,
    data_dir: str | pathlib.Path,
    folder: pathlib.Path,
) -> SplitInfo:
    shards: dict[tuple[str, int], int] = {}  # (split there, shard there) -> shard here
    entries = []
    for origin, entry in chosen:
        shard = shards.setdefault((origin, entry.shard), len(shards))
        entries.append(dataclasses.replace(entry, shard=shard))
    lines = [index_line(entry) for entry in entries]
    write_atomically(folder / index_file(split), "".join(lines), per_process=True)
    clips_per_class = dict.fromkeys(info.classes, 0)
    for entry in entries:
        for label in entry.labels:
            clips_per_class[info.classes[label]] += 1
    clips_per_shard = [0] * len(shards)
    for entry in entries:
        clips_per_shard[entry.shard] += 1
    places = [(info.splits[origin], number) for origin, number in shards]
    return SplitInfo(
        num_clips=len(entries),
        num_frames=sum(entry.num_frames for entry in entries),
        shards=[_place(data_dir, there["shards"][number], folder) for there, number in places],
        clips_per_shard=clips_per_shard,
        sha256=[there["sha256"][number] for there, number in places],
        clips_per_class=clips_per_class,
        pose_quality={},
    )


def _place(data_dir: str | pathlib.Path, shard: str, folder: pathlib.Path) -> str:
    """A shard as `folder` names it: relative, so that both can be moved together."""
    path = record_path(data_dir, shard)
    return path if "://" in path else os.path.relpath(pathlib.Path(path).resolve(), folder)
