"""Joins the parts of finished clips into shards, with their index and `dataset.json`.

TFRecord files concatenate: a shard is its parts' bytes one after the other, so nothing is decoded
here. Each part goes once its shard stands: at no time is the whole dataset on the disk twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from perfnet_tf.records.prepare_config import PrepareConfig
from perfnet_tf.records.schema import (
    FAILURES_FILE,
    ClipFailure,
    DatasetInfo,
    IndexEntry,
    PoseQuality,
    SourceClip,
    SplitInfo,
    index_file,
    write_dataset_info,
)
from perfnet_tf.records.staging import ClipOutcome, Staging, clip_key, write_atomically

#: A TFRecord is length (8 bytes), its checksum (4), the data, its checksum (4).
_HEADER_BYTES = 12
_FRAMING_BYTES = 16

Made = tuple[SourceClip, ClipOutcome]


def write_dataset(
    clips: Sequence[SourceClip],
    outcomes: Mapping[str, ClipOutcome],
    staging: Staging,
    config: PrepareConfig,
    classes: Sequence[str],
    failures: Sequence[ClipFailure],
) -> DatasetInfo:
    """Turns parts into the prepared dataset; may be killed and called again.

    Args:
        clips: every clip of the preparation.
        outcomes: `clip_key` -> what became of it.
        staging: where the parts are.
        config: the settings.
        classes: class names in label order.
        failures: the lines of `failures.jsonl`.

    Returns:
        What `dataset.json` says.
    """
    staging.finish()
    made = [(clip, outcomes[clip_key(clip)]) for clip in clips]
    splits = {}
    for split in sorted({clip.split for clip in clips}, key=("train", "val", "test").index):
        of_split = [(clip, outcome) for clip, outcome in made if clip.split == split and outcome.ok]
        # Sorted by a hash, so that every shard mixes the classes, and the same way on every run.
        of_split.sort(key=lambda item: item[1].key)
        splits[split] = _write_split(split, of_split, staging, config, classes)
    write_failures(staging.output, failures)
    info = DatasetInfo(
        name=config.name,
        classes=tuple(classes),
        splits=splits,
        fps=config.fps,
        short_side=config.short_side,
        pose=None if config.pose == "none" else config.pose,
        max_people=config.max_people,
        flow=None if config.flow == "none" else config.flow,
        flow_bound=config.flow_bound,
        num_failed=sum(not failure.kept for failure in failures),
        num_truncated=sum(failure.kept for failure in failures),
        parameters=preparation_identity(clips, config, classes),
    )
    write_dataset_info(staging.output, info)
    staging.remove()
    return info


def preparation_identity(
    clips: Iterable[SourceClip], config: PrepareConfig, classes: Sequence[str]
) -> dict[str, object]:
    """What two runs must share to be one preparation: settings, classes and clips."""
    keys = sorted(map(clip_key, clips))
    return {
        **config.identity(),
        "num_source_clips": len(keys),
        "source_clips_sha256": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        "classes_sha256": hashlib.sha256("\n".join(classes).encode()).hexdigest(),
    }


def write_failures(output: pathlib.Path, failures: Sequence[ClipFailure]) -> None:
    """Writes `failures.jsonl`, one line a clip."""
    lines = [json.dumps(dataclasses.asdict(failure)) + "\n" for failure in failures]
    write_atomically(output / FAILURES_FILE, "".join(lines).encode())


def _write_split(
    split: str,
    made: Sequence[Made],
    staging: Staging,
    config: PrepareConfig,
    classes: Sequence[str],
) -> SplitInfo:
    num_shards = math.ceil(len(made) / config.clips_per_shard)
    # Clips spread evenly: sizes differ by one at most.
    shards = [
        made[len(made) * i // num_shards : len(made) * (i + 1) // num_shards]
        for i in range(num_shards)
    ]
    names = [f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
    digests = [
        _write_shard(staging.output / name, [staging.part(outcome.key) for _, outcome in shard])
        for name, shard in zip(names, shards, strict=True)
    ]
    lines = [
        json.dumps(dataclasses.asdict(entry)) + "\n"
        for number, shard in enumerate(shards)
        for entry in _index_entries(number, shard)
    ]
    write_atomically(staging.output / index_file(split), "".join(lines).encode())
    clips_per_class = dict.fromkeys(classes, 0)
    for clip, _ in made:
        clips_per_class[clip.label_name] += 1
    return SplitInfo(
        num_clips=len(made),
        num_frames=sum(outcome.num_frames for _, outcome in made),
        shards=names,
        clips_per_shard=[len(shard) for shard in shards],
        sha256=digests,
        clips_per_class=clips_per_class,
        pose_quality={} if config.pose == "none" else _pose_quality(made, classes),
    )


def _write_shard(path: pathlib.Path, parts: Sequence[pathlib.Path]) -> str:
    """Joins parts, removes them, and returns the shard's SHA-256; a shard that stands is kept."""
    digest = hashlib.sha256()
    if path.exists():
        with open(path, "rb") as shard:
            while block := shard.read(1 << 24):
                digest.update(block)
        return digest.hexdigest()
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as shard:
        for part in parts:
            content = part.read_bytes()
            digest.update(content)
            shard.write(content)
    partial.replace(path)
    for part in parts:
        part.unlink(missing_ok=True)
    return digest.hexdigest()


def _index_entries(number: int, shard: Sequence[Made]) -> list[IndexEntry]:
    entries, position = [], 0
    for clip, outcome in shard:
        entries.append(
            IndexEntry(
                clip_id=clip.clip_id,
                label=clip.label,
                num_frames=outcome.num_frames,
                shard=number,
                offset=position + _HEADER_BYTES,
                length=outcome.size - _FRAMING_BYTES,
            )
        )
        position += outcome.size
    return entries


def _pose_quality(made: Sequence[Made], classes: Sequence[str]) -> dict[str, PoseQuality]:
    found = {name: [0, 0, 0] for name in classes}  # frames, with a person, with good keypoints
    for clip, outcome in made:
        counts = (outcome.num_frames, outcome.person_frames, outcome.keypoint_frames)
        found[clip.label_name] = [
            a + b for a, b in zip(found[clip.label_name], counts, strict=True)
        ]
    return {
        name: PoseQuality(person=round(people / frames, 4), keypoints=round(good / frames, 4))
        for name, (frames, people, good) in found.items()
        if frames
    }
