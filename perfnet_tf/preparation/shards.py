"""Joins the parts of finished clips into shards, with their index and `dataset.json`.

TFRecord files concatenate: a shard is its parts' bytes one after the other, so nothing is decoded
here. Each part is removed once its shard is complete: the dataset is never on the disk twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from perfnet_tf import storage
from perfnet_tf.classes import classes_digest
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.outcomes import ClipOutcome, PreparationError
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.records.folder import index_file, index_line, write_dataset_info
from perfnet_tf.records.schema import (
    FAILURES_FILE,
    FRAMING_BYTES,
    HEADER_BYTES,
    SPLITS,
    ClipFailure,
    DatasetInfo,
    IndexEntry,
    PoseQuality,
    SourceClip,
    SplitInfo,
)
from perfnet_tf.video.versions import join_versions

Made = tuple[SourceClip, ClipOutcome]
#: (shard's file name -> what is in it) -> its SHA-256.
WriteShards = Callable[[Mapping[str, Sequence[Made]]], Mapping[str, str]]


def write_dataset(
    clips: Sequence[SourceClip],
    outcomes: Mapping[str, ClipOutcome],
    staging: Staging,
    config: PrepareConfig,
    classes: Sequence[str],
    failures: Sequence[ClipFailure],
    write_shards: WriteShards | None = None,
) -> DatasetInfo:
    """Turns parts into the prepared dataset; may be killed and called again.

    Args:
        clips: every clip of the preparation.
        outcomes: `SourceClip.key` -> what became of it.
        staging: where the parts are.
        config: the settings.
        classes: class names in label order.
        failures: the lines of `failures.jsonl`.
        write_shards: writes the shards, on a cluster; None writes them in this process.

    Returns:
        What `dataset.json` says.
    """
    staging.finish(outcomes)
    versions = join_versions(staging.versions())
    plan = _plan(clips, outcomes, config)
    every = {name: made for shards in plan.values() for name, made in shards.items()}
    if write_shards is not None:
        digests = write_shards(every)
    else:
        digests = {name: write_shard(name, made, staging) for name, made in every.items()}
    splits = {
        split: _write_split(split, shards, digests, staging, config, classes)
        for split, shards in plan.items()
    }
    write_failures(staging, failures)
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
        num_deinterlaced=sum(outcomes[clip.key].deinterlaced for clip in clips),
        square_pixels=config.square_pixels,
        versions=versions,
        num_flow_rescaled=sum(outcomes[clip.key].flow_rescaled for clip in clips),
        parameters=preparation_identity(clips, config, classes),
        sources=config.sources,
        label_kind=config.label_kind,
    )
    write_dataset_info(staging.address, info)
    staging.remove()
    return info


def lost_clips(
    clips: Sequence[SourceClip], staging: Staging, config: PrepareConfig
) -> list[SourceClip]:
    """The clips whose parts are gone or cut off, though their shards are still to be written."""
    outcomes = staging.outcomes()
    unknown = [clip for clip in clips if clip.key not in outcomes]
    if unknown:  # A journal was damaged, and what is in which shard follows from all outcomes.
        return unknown
    done = staging.done(outcomes)
    return [
        clip
        for shards in _plan(clips, outcomes, config).values()
        for name, made in shards.items()
        if not storage.exists(staging.path(name))
        for clip, outcome in made
        if outcome.key not in done
    ]


def _plan(
    clips: Sequence[SourceClip], outcomes: Mapping[str, ClipOutcome], config: PrepareConfig
) -> dict[str, dict[str, list[Made]]]:
    """Split -> shard's file name -> what is in it; the same on every run."""
    plan: dict[str, dict[str, list[Made]]] = {}
    for split in sorted({clip.split for clip in clips}, key=SPLITS.index):
        made = [(clip, outcomes[clip.key]) for clip in clips if clip.split == split]
        # Sorted by a hash, so that every shard mixes the classes.
        made = sorted((item for item in made if item[1].ok), key=lambda item: item[1].key)
        count = math.ceil(len(made) / config.clips_per_shard)
        # Clips spread evenly: sizes differ by one at most.
        plan[split] = {
            f"{split}-{i:05d}-of-{count:05d}.tfrecord": made[
                len(made) * i // count : len(made) * (i + 1) // count
            ]
            for i in range(count)
        }
    return plan


def preparation_identity(
    clips: Iterable[SourceClip], config: PrepareConfig, classes: Sequence[str]
) -> dict[str, object]:
    """What two runs must share to be one preparation: settings, classes and clips."""
    keys = sorted(clip.key for clip in clips)
    return {
        **config.identity(),
        "num_source_clips": len(keys),
        "source_clips_sha256": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
        "classes_sha256": classes_digest(classes),
    }


def write_failures(staging: Staging, failures: Sequence[ClipFailure]) -> None:
    """Writes `failures.jsonl`, one line a clip; a bucket has none where nothing failed."""
    lines = [json.dumps(dataclasses.asdict(failure)) + "\n" for failure in failures]
    path = staging.path(FAILURES_FILE)
    if storage.is_bucket(path) and not lines:
        storage.remove([path])
    else:
        storage.write_atomically(path, "".join(lines))


def _write_split(
    split: str,
    shards: Mapping[str, Sequence[Made]],
    digests: Mapping[str, str],
    staging: Staging,
    config: PrepareConfig,
    classes: Sequence[str],
) -> SplitInfo:
    made = [item for shard in shards.values() for item in shard]
    lines = [
        index_line(entry)
        for number, shard in enumerate(shards.values())
        for entry in _index_entries(number, shard)
    ]
    if lines or not storage.is_bucket(staging.address):
        storage.write_atomically(staging.path(index_file(split)), "".join(lines))
    clips_per_class = dict.fromkeys(classes, 0)
    for clip, _ in made:
        for name in clip.labels.values():
            clips_per_class[name] += 1
    return SplitInfo(
        num_clips=len(made),
        num_frames=sum(outcome.num_frames for _, outcome in made),
        shards=list(shards),
        clips_per_shard=[len(shard) for shard in shards.values()],
        sha256=[digests[name] for name in shards],
        clips_per_class=clips_per_class,
        pose_quality={} if config.pose == "none" else _pose_quality(made, classes),
    )


def write_shard(name: str, made: Sequence[Made], staging: Staging) -> str:
    """Joins parts, removes them, and returns the shard's SHA-256; a complete shard is kept.

    Raises:
        PreparationError: a part or the complete shard was damaged.
    """
    path = staging.path(name)
    if storage.exists(path):
        return _check_shard(path, made)
    digest = hashlib.sha256()
    with storage.writing(path) as shard:
        for clip, outcome in made:
            content = _read_part(clip, outcome, staging)
            digest.update(content)
            shard.write(content)
    staging.release_parts(outcome for _, outcome in made)
    return digest.hexdigest()


def _check_shard(path: str, made: Sequence[Made]) -> str:
    """The SHA-256 of a shard that an earlier run wrote.

    Raises:
        PreparationError: it does not hold what was written; it is removed.
    """
    digest = hashlib.sha256()
    with storage.open_read(path) as shard:
        whole = True
        for _, outcome in made:
            content = shard.read(outcome.size)
            digest.update(content)
            whole = whole and _is_as_written(content, outcome)
        whole = whole and not shard.read(1)
    if not whole:
        storage.remove([path])
        raise PreparationError(
            f"The finished shard {path} was damaged after it was written. "
            "Run the command again: its clips are made again."
        )
    return digest.hexdigest()


def _is_as_written(content: bytes, outcome: ClipOutcome) -> bool:
    return (len(content), hashlib.sha256(content).hexdigest()) == (outcome.size, outcome.sha256)


def _read_part(clip: SourceClip, outcome: ClipOutcome, staging: Staging) -> bytes:
    """The bytes of a part.

    Raises:
        PreparationError: they are not those that were written.
    """
    content = staging.read_part(outcome)
    if content is None:
        raise PreparationError(
            f"The finished clip {clip.clip_id} has vanished from {staging.staged_path('')}, and "
            f"could not be made again. Prepare into another folder, or bring back {clip.path}."
        )
    if not _is_as_written(content, outcome):
        staging.drop_part(outcome)
        raise PreparationError(
            f"The finished clip {clip.clip_id} was damaged in {staging.staged_path('')} after it "
            "was made. "
            "Run the command again: it is made again."
        )
    return content


def _index_entries(number: int, shard: Sequence[Made]) -> list[IndexEntry]:
    entries, position = [], 0
    for clip, outcome in shard:
        entries.append(
            IndexEntry(
                clip_id=clip.clip_id,
                label=clip.label,
                num_frames=outcome.num_frames,
                shard=number,
                offset=position + HEADER_BYTES,
                length=outcome.size - FRAMING_BYTES,
                group=clip.group,
                other_labels=clip.other_labels,
            )
        )
        position += outcome.size
    return entries


def _pose_quality(made: Sequence[Made], classes: Sequence[str]) -> dict[str, PoseQuality]:
    found = {name: [0, 0, 0] for name in classes}  # frames, with a person, with good keypoints
    for clip, outcome in made:
        counts = (outcome.num_frames, outcome.person_frames, outcome.keypoint_frames)
        for name in clip.labels.values():
            found[name] = [a + b for a, b in zip(found[name], counts, strict=True)]
    return {
        name: PoseQuality(person=round(people / frames, 4), keypoints=round(good / frames, 4))
        for name, (frames, people, good) in found.items()
        if frames
    }
