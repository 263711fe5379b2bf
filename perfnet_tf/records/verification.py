"""Whether a prepared dataset is whole: every shard against its digest, every record against all.

| checked                | against                                                            |
|------------------------|--------------------------------------------------------------------|
| `dataset.json`         | itself: counts, names, the digest of its classes                   |
| the index of a split   | the counts in `dataset.json`; ids are unique in the whole dataset  |
| `failures.jsonl`       | the counts in `dataset.json`                                       |
| a shard                | its place, its length and its SHA-256                              |
| a record               | its checksums, its line of the index, the dataset's classes        |
"""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.records import schema
from perfnet_tf.records.folder import (
    index_file,
    read_dataset_info,
    read_failures,
    read_index,
    record_path,
)
from perfnet_tf.records.reader import check_record, decode_record
from perfnet_tf.records.schema import FRAMING_BYTES, HEADER_BYTES, DatasetInfo, IndexEntry

_BLOCK = 1 << 22

Progress = Callable[[Sequence[tuple[str, str]]], Iterable[tuple[str, str]]]


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was written.

    Attributes:
        file: its name, relative to the dataset.
        problem: what is wrong with it.
    """

    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


@dataclass(frozen=True)
class Verification:
    """What `verify_dataset` found.

    Attributes:
        num_clips: records that are intact.
        num_shards: shards looked at.
        num_bytes: of the shards that are there.
        damages: what is wrong; empty for a whole dataset.
    """

    num_clips: int
    num_shards: int
    num_bytes: int
    damages: tuple[Damage, ...]


def verify_dataset(
    data_dir: str | os.PathLike[str], *, progress: Progress | None = None
) -> Verification:
    """Reads every byte of a prepared dataset and compares it with what `perfnet prepare` wrote.

    Args:
        data_dir: a prepared dataset, or a subset of one.
        progress: wraps the list of (split, shard) that is gone through, as `tqdm` does.

    Raises:
        InputError: no prepared dataset, or a `dataset.json` that is damaged.
    """
    folder = os.fspath(data_dir)
    info = read_dataset_info(folder)
    damages: list[Damage] = []
    by_shard: dict[tuple[str, str], list[IndexEntry]] = {}
    for split, of_split in info.splits.items():
        try:
            entries = list(read_index(folder, split))
        except InputError as error:
            damages.append(Damage(index_file(split), str(error)))
            entries = []
        damages += _compare_counts(split, entries, info) if entries else []
        by_shard |= {(split, name): [] for name in of_split["shards"]}
        for entry in entries:
            by_shard[split, of_split["shards"][entry.shard]].append(entry)
    damages += _compare_failures(folder, info)
    damages += _find_repeats(by_shard)
    damages += _find_strangers(folder, info)
    num_clips = num_bytes = 0
    shards = list(by_shard)
    for split, name in progress(shards) if progress else shards:
        of_split = info.splits[split]
        digest = of_split["sha256"][of_split["shards"].index(name)]
        found = _Shard(record_path(folder, name), by_shard[split, name], digest, info)
        num_clips += found.num_intact
        num_bytes += found.size
        damages += [Damage(name, problem) for problem in found.problems]
    return Verification(num_clips, len(shards), num_bytes, tuple(damages))


def find_damaged_record(data_dir: str | os.PathLike[str], split: str) -> Damage | None:
    """The first record of a split that does not decode, frame by frame; None if all do.

    Raises:
        InputError: no prepared dataset, or its `dataset.json` or index is damaged.
    """
    folder = os.fspath(data_dir)
    info = read_dataset_info(folder)
    entries = list(read_index(folder, split))
    for number, name in enumerate(info.split(split)["shards"]):
        held = [entry for entry in entries if entry.shard == number]
        found = _Shard(record_path(folder, name), held, None, info)
        if found.problems:
            return Damage(name, found.problems[0])
    return None


class _Shard:
    """A shard that was gone through: `problems`, `num_intact` records, `size` in bytes.

    Frames are decoded where there is no digest, or a wrong one.
    """

    def __init__(
        self, path: str, entries: Sequence[IndexEntry], digest: str | None, info: DatasetInfo
    ) -> None:
        self.problems: list[str] = []
        self.num_intact = 0
        self.size = 0
        self._path = path
        if not tf.io.gfile.exists(path) or ("://" not in path and not os.path.isfile(path)):
            self.problems.append("is missing.")
            return
        try:
            self._read(entries, digest, info)
        except (OSError, tf.errors.OpError) as error:
            self.problems.append(f"cannot be read: {first_line(error)}.")

    def _read(self, entries: Sequence[IndexEntry], digest: str | None, info: DatasetInfo) -> None:
        self.size = tf.io.gfile.stat(self._path).length
        needed = max(map(_end, entries), default=0)
        as_written = digest is not None and self._digest() == digest
        if self.size < needed:
            self.problems.append(f"is cut off: it has {self.size} bytes of {needed}.")
        elif digest is not None and not as_written:
            self.problems.append("was altered: its SHA-256 is not that of dataset.json.")
        for entry in entries:
            problem = self._check(entry, info, decode=not as_written)
            if problem is None:
                self.num_intact += 1
            else:
                self.problems.append(f"the record of {entry.clip_id} {problem}.")

    def _digest(self) -> str:
        digest = hashlib.sha256()
        with tf.io.gfile.GFile(self._path, "rb") as shard:
            while block := shard.read(_BLOCK):
                digest.update(block)
        return digest.hexdigest()

    def _check(self, entry: IndexEntry, info: DatasetInfo, *, decode: bool) -> str | None:
        """What is wrong with a record; None if nothing is."""
        if _end(entry) > self.size:
            return "is not there in full"
        records = tf.raw_ops.TFRecordDatasetV2(
            filenames=[self._path],
            compression_type="",
            buffer_size=256 * 1024,
            byte_offsets=tf.constant([entry.offset - HEADER_BYTES], tf.int64),
        )
        try:
            serialized = tf.raw_ops.DatasetToSingleElement(
                dataset=tf.raw_ops.TakeDataset(
                    input_dataset=records,
                    count=tf.constant(1, tf.int64),
                    output_types=[tf.string],
                    output_shapes=[[]],
                ),
                output_types=[tf.string],
                output_shapes=[[]],
            )[0].numpy()
        except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError):
            return "has a wrong checksum"
        if len(serialized) != entry.length:
            return f"has {len(serialized)} bytes, and {entry.length} in the index"
        try:
            clip_id, labels, num_frames, group = check_record(serialized, info)
            if decode:
                decode_record(serialized, info)
        except InputError as error:
            return f"is damaged: {str(error).rstrip('.')}"
        if (clip_id, labels, num_frames) != (entry.clip_id, entry.labels, entry.num_frames):
            return (
                f"is not what the index says: {clip_id} of class {_join(labels)} with {num_frames} "
                f"frames, not {entry.clip_id} of {_join(entry.labels)} with {entry.num_frames}"
            )
        if entry.group != group:
            return f"is of the group {group!r}, and of {entry.group!r} in the index"
        return None


def _join(labels: Sequence[int]) -> str:
    return " and ".join(map(str, labels))


def _end(entry: IndexEntry) -> int:
    """The first byte of the shard after a record and its framing."""
    return entry.offset + entry.length + FRAMING_BYTES - HEADER_BYTES


def _compare_counts(
    split: str, entries: Sequence[IndexEntry], info: DatasetInfo
) -> Iterator[Damage]:
    of_split = info.splits[split]
    counted = collections.Counter(entry.shard for entry in entries)
    for number, (name, count) in enumerate(
        zip(of_split["shards"], of_split["clips_per_shard"], strict=True)
    ):
        if counted[number] != count:
            problem = f"has {counted[number]} clips of {name}, and dataset.json {count}."
            yield Damage(index_file(split), problem)
    num_frames = sum(entry.num_frames for entry in entries)
    if num_frames != of_split["num_frames"]:
        problem = f"counts {num_frames} frames, and dataset.json {of_split['num_frames']}."
        yield Damage(index_file(split), problem)
    of_class = collections.Counter(
        info.classes[label] for entry in entries for label in entry.labels
    )
    if {name: of_class[name] for name in info.classes} != of_split["clips_per_class"]:
        problem = "has not as many clips of each class as dataset.json counts."
        yield Damage(index_file(split), problem)


def _compare_failures(folder: str, info: DatasetInfo) -> Iterator[Damage]:
    try:
        kept = [failure.kept for failure in read_failures(folder)]
    except InputError as error:
        yield Damage(schema.FAILURES_FILE, str(error))
        return
    found, counted = (kept.count(False), kept.count(True)), (info.num_failed, info.num_truncated)
    if found != counted:
        problem = (
            f"names {found[0]} failed and {found[1]} incomplete clips, and dataset.json counts "
            f"{counted[0]} and {counted[1]}."
        )
        yield Damage(schema.FAILURES_FILE, problem)


def _find_repeats(by_shard: dict[tuple[str, str], list[IndexEntry]]) -> Iterator[Damage]:
    seen: dict[str, str] = {}
    for (split, _), entries in by_shard.items():
        for entry in entries:
            if entry.clip_id in seen:
                where = "twice" if seen[entry.clip_id] == split else f"and in {seen[entry.clip_id]}"
                yield Damage(index_file(split), f"holds {entry.clip_id} {where}.")
            seen[entry.clip_id] = split


def _find_strangers(folder: str, info: DatasetInfo) -> Iterator[Damage]:
    """Shards in the folder that no split names: of another preparation, or left out."""
    if "://" in folder:
        return
    named = {name for split in info.splits.values() for name in split["shards"]}
    for path in sorted(pathlib.Path(folder).glob("*.tfrecord")):
        if path.name not in named:
            yield Damage(path.name, "is in the folder, but dataset.json does not name it.")
