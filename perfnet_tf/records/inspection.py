"""What a prepared dataset holds, in numbers: read from its index, and from a sample of its flow."""

from __future__ import annotations

import difflib
import pathlib
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf import features
from perfnet_tf.errors import InputError
from perfnet_tf.records import schema
from perfnet_tf.records.reader import parse_clip
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.video.sampling import spread_indices

#: Flow is read from at most so many clips, and frames of each: a second or two for any dataset.
FLOW_CLIPS = 64
FLOW_FRAMES = 4
FLOW_PERCENTILES = (50, 90, 99)

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
class DatasetStatistics:
    """What `compute_statistics` finds.

    Attributes:
        info: `dataset.json`.
        frames_per_clip: fewest, median and most stored frames of a clip.
        empty_classes: classes without a clip in any split.
        person: share of frames with at least one person; None without pose.
        keypoints: share of frames with a person of `GOOD_KEYPOINTS` good keypoints or more.
        flow: None without flow.
    """

    info: DatasetInfo
    frames_per_clip: tuple[int, int, int]
    empty_classes: tuple[str, ...]
    person: float | None
    keypoints: float | None
    flow: FlowStatistics | None


@dataclass(frozen=True)
class StoredClip:
    """A clip of a prepared dataset, still encoded.

    Attributes:
        entry: where it lies.
        split: its split.
        label_name: its class.
        fps: stored frames a second.
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
        there = {features.RGB: True, features.POSE: self.info.pose, features.FLOW: self.info.flow}
        return tuple(stream for stream, source in there.items() if source)

    def decode(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The frames at `indices`, as `records.reader.parse_clip` gives them."""
        parsed = parse_clip(
            tf.constant(self.serialized),
            indices=tf.constant(np.asarray(indices, np.int32)),
            streams=self.streams,
            info=self.info,
        )
        return {name: value.numpy() for name, value in parsed.items()}


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
    info = schema.read_dataset_info(data_dir)
    entries = [
        (split, entry) for split in info.splits for entry in schema.read_index(data_dir, split)
    ]
    if not entries:
        raise InputError(f"A prepared dataset must hold clips. Received: {data_dir}, without any.")
    lengths = [entry.num_frames for _, entry in entries]
    labels = {entry.label for _, entry in entries}
    return DatasetStatistics(
        info=info,
        frames_per_clip=(min(lengths), int(statistics.median(lengths)), max(lengths)),
        empty_classes=tuple(name for i, name in enumerate(info.classes) if i not in labels),
        person=_pose_share(info, entries, "person"),
        keypoints=_pose_share(info, entries, "keypoints"),
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
        f"short side {info.short_side}",
        *(
            f"  {name}: {split['num_clips']} clips, {split['num_frames']} frames, "
            f"{_spread(split['clips_per_class'].values())} clips a class"
            for name, split in info.splits.items()
        ),
        f"  frames a clip: {fewest} to {most}, median {median}",
    ]
    if stats.empty_classes:
        lines.append(f"  classes without a clip: {', '.join(stats.empty_classes)}")
    lines.append(f"  failed: {info.num_failed} clips; in part: {info.num_truncated}")
    if stats.person is None or stats.keypoints is None:
        lines.append("  pose: none")
    else:
        lines.append(
            f"  pose {info.pose}: {stats.person:.1%} of frames with a person, "
            f"{stats.keypoints:.1%} with {schema.GOOD_KEYPOINTS} or more keypoints of score "
            f"{schema.GOOD_SCORE} in one"
        )
    if stats.flow is None:
        lines.append("  flow: none")
    else:
        speeds = ", ".join(f"{share} % {v:.2f}" for share, v in stats.flow.percentiles.items())
        lines.append(
            f"  flow {info.flow}, pixels a frame: {speeds}; {stats.flow.clipped:.2%} of pixels at "
            f"the bound of {info.flow_bound:g} ({stats.flow.num_frames} frames of "
            f"{stats.flow.num_clips} clips)"
        )
    return "\n".join(lines)


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
    info = schema.read_dataset_info(data_dir)
    known = []
    for name in info.splits if split is None else (split,):
        for entry in schema.read_index(data_dir, name):
            if entry.clip_id == clip_id:
                return _open(data_dir, info, name, entry)
            known.append(entry.clip_id)
    where = f"{data_dir}" if split is None else f"the split {split} of {data_dir}"
    near = _nearest(clip_id, known)
    hint = f" Did you mean {' or '.join(near)}?" if near else " See its .index.jsonl files."
    failed = next(
        (f for f in schema.read_failures(data_dir) if f.clip_id == clip_id and not f.kept), None
    )
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
    info = schema.read_dataset_info(data_dir)
    first: dict[int, tuple[str, IndexEntry]] = {}
    for name in info.splits if split is None else (split,):
        for entry in schema.read_index(data_dir, name):
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
    serialized = _read_bytes(data_dir, info, split, entry)
    example = tf.train.SequenceExample.FromString(serialized)
    context = example.context.feature
    timestamps = example.feature_lists.feature_list[schema.TIMESTAMP_KEY].feature
    return StoredClip(
        entry=entry,
        split=split,
        label_name=context[schema.LABEL_TEXT_KEY].bytes_list.value[0].decode(),
        fps=context[schema.FRAME_RATE_KEY].float_list.value[0],
        timestamps=np.array([time.int64_list.value[0] for time in timestamps]) / 1e6,
        serialized=serialized,
        info=info,
    )


def _read_bytes(
    data_dir: str | pathlib.Path, info: DatasetInfo, split: str, entry: IndexEntry
) -> bytes:
    path = pathlib.Path(data_dir) / info.split(split)["shards"][entry.shard]
    try:
        with open(path, "rb") as shard:
            shard.seek(entry.offset)
            serialized = shard.read(entry.length)
    except FileNotFoundError:
        serialized = b""
    if len(serialized) < entry.length:
        raise InputError(
            f"{path} is missing or cut off: the prepared dataset is damaged. "
            "Copy it again, or prepare it again into an empty folder."
        )
    return serialized


def _nearest(clip_id: str, known: Sequence[str]) -> list[str]:
    """Up to three ids: those that contain what was typed, else those that look like it."""
    containing = [name for name in known if clip_id and clip_id.lower() in name.lower()]
    return sorted(containing)[:3] or difflib.get_close_matches(clip_id, known, n=3)


def _pose_share(
    info: DatasetInfo, entries: Iterable[tuple[str, IndexEntry]], what: str
) -> float | None:
    """Share of all frames, from the shares of each class and the number of its frames."""
    good = total = 0.0
    for split, entry in entries:
        quality = info.splits[split]["pose_quality"].get(info.classes[entry.label])
        if quality is not None:
            good += entry.num_frames * quality[what]  # type: ignore[literal-required]
            total += entry.num_frames
    return good / total if total else None


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
            tf.constant(_read_bytes(data_dir, info, split_of[entry.clip_id], entry)),
            indices=tf.constant(indices, tf.int32),
            streams=(features.FLOW,),
            info=info,
        )[features.FLOW].numpy()
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
