"""What a prepared dataset holds, in numbers: read from its index, and from a sample of its flow."""

from __future__ import annotations

import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.reader import parse_clip, read_record
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.streams import FLOW
from perfnet_tf.video.sampling import spread_indices

#: Flow is read from at most so many clips, and frames of each: a second or two for any dataset.
FLOW_CLIPS = 64
FLOW_FRAMES = 4
FLOW_PERCENTILES = (50, 90, 99)
#: Classes whose coverage by poses is printed, the worst ones.
MOST_CLASSES = 20

ShowProgress = Callable[[Iterable[IndexEntry]], Iterable[IndexEntry]]


@dataclass(frozen=True)
class FlowStatistics:
    """Speeds in pixels per frame, of every pixel of a sample of frames.

    Attributes:
        percentiles: percent -> speed that this share of pixels does not exceed.
        clipped: share of pixels with a component at the bound that flow is stored with.
        num_clips, num_frames: size of the sample.
    """

    percentiles: dict[int, float]
    clipped: float
    num_clips: int
    num_frames: int


@dataclass(frozen=True)
class PoseCoverage:
    """How often people were found.

    Attributes:
        person: share of all frames with at least one person.
        keypoints: share of all frames with a person of `GOOD_KEYPOINTS` good keypoints or more.
        by_class: the same two for each class that has frames, all splits together.
    """

    person: float
    keypoints: float
    by_class: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class DatasetStatistics:
    """What `compute_statistics` finds.

    Attributes:
        info: `dataset.json`.
        frames_per_clip: fewest, median and most stored frames of a clip.
        empty_classes: classes without a clip in any split.
        pose: None without pose.
        flow: None without flow.
    """

    info: DatasetInfo
    frames_per_clip: tuple[int, int, int]
    empty_classes: tuple[str, ...]
    pose: PoseCoverage | None
    flow: FlowStatistics | None


def compute_statistics(
    data_dir: str | pathlib.Path, *, progress: ShowProgress | None = None
) -> DatasetStatistics:
    """Counts a prepared dataset.

    Args:
        data_dir: the dataset.
        progress: wraps the iteration over the clips whose flow is read, as `tqdm` does.

    Raises:
        InputError: no prepared dataset, or one without a clip.
    """
    info = read_dataset_info(data_dir)
    entries = [(split, entry) for split in info.splits for entry in read_index(data_dir, split)]
    if not entries:
        raise InputError(f"A prepared dataset must hold clips. Received: {data_dir}, without any.")
    lengths = [entry.num_frames for _, entry in entries]
    labels = {label for _, entry in entries for label in entry.labels}
    return DatasetStatistics(
        info=info,
        frames_per_clip=(min(lengths), int(statistics.median(lengths)), max(lengths)),
        empty_classes=tuple(name for i, name in enumerate(info.classes) if i not in labels),
        pose=_pose_coverage(info, entries),
        flow=_flow_statistics(data_dir, info, entries, progress) if info.flow else None,
    )


def format_statistics(stats: DatasetStatistics) -> str:
    """The statistics as a few lines for people."""
    info = stats.info
    num_clips = sum(split["num_clips"] for split in info.splits.values())
    num_frames = sum(split["num_frames"] for split in info.splits.values())
    fps = "own frame rate" if info.fps is None else f"{info.fps:g} fps"
    fewest, median, most = stats.frames_per_clip
    lines = [
        f"{info.name}: {num_clips} clips, {num_frames} frames, {info.num_classes} classes; {fps}, "
        f"short side {info.short_side}"
        + ("" if info.label_kind == SINGLE_LABEL else "; several labels per clip"),
        *(
            f"  {name}: {split['num_clips']} clips, {split['num_frames']} frames, "
            f"{_spread(split['clips_per_class'].values())} clips per class"
            for name, split in info.splits.items()
        ),
        f"  frames per clip: {fewest} to {most}, median {median}",
    ]
    if stats.empty_classes:
        lines.append(f"  classes without a clip: {', '.join(stats.empty_classes)}")
    deinterlaced = f"; deinterlaced: {info.num_deinterlaced}" if info.num_deinterlaced else ""
    lines.append(f"  failed: {info.num_failed} clips; in part: {info.num_truncated}{deinterlaced}")
    lines += _pose_lines(stats)
    if stats.flow is None:
        lines.append("  flow: none")
    else:
        speeds = ", ".join(f"{share} % {v:.2f}" for share, v in stats.flow.percentiles.items())
        lines.append(
            f"  flow {info.flow}, pixels per frame: {speeds}; {stats.flow.clipped:.2%} of pixels "
            f"at the bound of {info.flow_bound:g} ({stats.flow.num_frames} frames of "
            f"{stats.flow.num_clips} clips)"
        )
    if info.sources:
        lines.append(f"  further sources: {', '.join(info.sources)}")
    return "\n".join(lines)


def _pose_coverage(
    info: DatasetInfo, entries: Iterable[tuple[str, IndexEntry]]
) -> PoseCoverage | None:
    """From the shares of each split's classes and the number of their frames."""
    counts: dict[str, npt.NDArray[np.float64]] = {}  # frames, with a person, with good keypoints
    for split, entry in entries:
        for name in (info.classes[label] for label in entry.labels):
            quality = info.splits[split]["pose_quality"].get(name)
            if quality is not None:
                shares = np.array([1.0, quality["person"], quality["keypoints"]])
                counts[name] = counts.get(name, np.zeros(3)) + entry.num_frames * shares
    if not counts:
        return None
    num_frames, person, keypoints = np.sum(list(counts.values()), axis=0)
    return PoseCoverage(
        person=float(person / num_frames),
        keypoints=float(keypoints / num_frames),
        by_class={
            name: (
                float(counts[name][1] / counts[name][0]),
                float(counts[name][2] / counts[name][0]),
            )
            for name in info.classes
            if name in counts
        },
    )


def _pose_lines(stats: DatasetStatistics) -> list[str]:
    if stats.pose is None:
        return ["  pose: none"]
    lines = [
        f"  pose {stats.info.pose}: {stats.pose.person:.1%} of frames with a person, "
        f"{stats.pose.keypoints:.1%} with {schema.GOOD_KEYPOINTS} or more keypoints of score "
        f"{schema.GOOD_SCORE} in one"
    ]
    worst = sorted(stats.pose.by_class.items(), key=lambda item: item[1][::-1])
    width = max(len(name) for name, _ in worst[:MOST_CLASSES])
    lines += [
        f"    {name:<{width}}  {person:6.1%}  {keypoints:6.1%}"
        for name, (person, keypoints) in worst[:MOST_CLASSES]
    ]
    if len(worst) > MOST_CLASSES:
        more = len(worst) - MOST_CLASSES
        lines.append(f"    {more} more classes, with better coverage: see {schema.DATASET_FILE}")
    return lines


def _flow_statistics(
    data_dir: str | pathlib.Path,
    info: DatasetInfo,
    entries: Sequence[tuple[str, IndexEntry]],
    progress: ShowProgress | None,
) -> FlowStatistics:
    chosen = spread_indices(len(entries), min(FLOW_CLIPS, len(entries)))
    split_of = {entries[i][1].clip_id: entries[i][0] for i in chosen}
    sample = [entries[i][1] for i in chosen]
    # One level of the 8 bits: anything nearer to the bound than that is at it.
    largest = info.flow_bound * (1 - 1 / 254)
    speeds, clipped, num_frames = [], 0, 0
    for entry in progress(sample) if progress else sample:
        # The last frame only repeats the flow of the one before it.
        indices = np.unique(spread_indices(max(1, entry.num_frames - 1), FLOW_FRAMES))
        flow = parse_clip(
            tf.constant(read_record(data_dir, info, split_of[entry.clip_id], entry)),
            indices=tf.constant(indices, tf.int32),
            streams=(FLOW,),
            info=info,
        )[FLOW].numpy()
        clipped += int((np.abs(flow) >= largest).any(axis=-1).sum())
        speeds.append(np.hypot(flow[..., 0], flow[..., 1]).ravel())
        num_frames += len(indices)
    values = np.concatenate(speeds)
    return FlowStatistics(
        percentiles={
            share: float(value)
            for share, value in zip(
                FLOW_PERCENTILES, np.percentile(values, FLOW_PERCENTILES), strict=True
            )
        },
        clipped=clipped / values.size,
        num_clips=len(sample),
        num_frames=num_frames,
    )


def _spread(counts: Iterable[int]) -> str:
    fewest, most = min(counts := list(counts)), max(counts)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"
