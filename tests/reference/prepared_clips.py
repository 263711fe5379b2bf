"""Writes small prepared datasets by hand, without videos and without the preparation itself."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from perfnet_tf.records.encoding import encode_clip
from perfnet_tf.records.folder import index_file, write_dataset_info
from perfnet_tf.records.schema import ClipRecord, DatasetInfo

MAX_PEOPLE = 2


def make_clip(number: int, label: int, *, frames: int, height: int, width: int) -> ClipRecord:
    """A clip whose class shows in colour, flow and pose.

    Frame f is `20 * label + 4 * f` of red, and everything flows by (label + 1, -label - 1) pixels.
    """
    random = np.random.default_rng(number)
    picture = np.full((frames, height, width, 3), 128, np.uint8)
    picture[..., 0] = (20 * label + 4 * np.arange(frames))[:, None, None]
    picture[..., 2] = np.linspace(0, 200, width).astype(np.uint8)
    keypoints = np.zeros((frames, MAX_PEOPLE, 17, 3), np.float32)
    keypoints[:, 0] = random.uniform(0.2, 0.8, (17, 3))
    keypoints[:, 0, :, 2] = 0.9
    boxes = np.zeros((frames, MAX_PEOPLE, 4), np.float32)
    boxes[:, 0, :2] = keypoints[:, 0, :, :2].min(1)
    boxes[:, 0, 2:] = keypoints[:, 0, :, :2].max(1)
    flow = np.zeros((frames, height, width, 2), np.float32)
    flow[...] = np.array([label + 1, -label - 1])
    return ClipRecord(
        clip_id=f"class{label}/clip{number}",
        label=label,
        label_name=f"class{label}",
        frames=picture,
        timestamps=np.arange(frames) / 25,
        fps=25.0,
        keypoints=keypoints,
        boxes=boxes,
        flow=flow,
    )


def write_dataset(
    folder: pathlib.Path,
    clips: dict[str, Sequence[ClipRecord]],
    *,
    num_classes: int,
    num_shards: int = 2,
    pose: bool = True,
    flow: bool = True,
    fps: float = 25.0,
) -> pathlib.Path:
    """A prepared dataset of these clips by split, as `perfnet prepare` would lay it out."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for split, records in clips.items():
        names = [f"{split}-{i:05d}-of-{num_shards:05d}.tfrecord" for i in range(num_shards)]
        lines = []
        for shard, name in enumerate(names):
            offset = 0
            with tf.io.TFRecordWriter(str(folder / name)) as writer:
                for record in records[shard::num_shards]:
                    data = encode_clip(record, max_people=MAX_PEOPLE, flow_bound=20.0)
                    writer.write(data)
                    lines.append(
                        {
                            "clip_id": record.clip_id,
                            "label": record.label,
                            "num_frames": record.num_frames,
                            "shard": shard,
                            "offset": offset + 12,
                            "length": len(data),
                        }
                    )
                    offset += 16 + len(data)
        (folder / index_file(split)).write_text("".join(json.dumps(x) + "\n" for x in lines))
        splits[split] = {
            "num_clips": len(records),
            "num_frames": sum(r.num_frames for r in records),
            "shards": names,
            "clips_per_shard": [len(records[i::num_shards]) for i in range(num_shards)],
            "sha256": [""] * num_shards,
            "clips_per_class": {
                f"class{i}": sum(r.label == i for r in records) for i in range(num_classes)
            },
            "pose_quality": {},
        }
    write_dataset_info(
        folder,
        DatasetInfo(
            name="tiny",
            classes=tuple(f"class{i}" for i in range(num_classes)),
            splits=splits,
            fps=fps,
            short_side=48,
            pose="keypoints" if pose else None,
            max_people=MAX_PEOPLE,
            flow="tvl1" if flow else None,
            flow_bound=20.0,
        ),
    )
    return folder


def write_tiny_dataset(
    folder: pathlib.Path, *, clips_per_class: int = 5, num_classes: int = 3
) -> pathlib.Path:
    """Two splits of clips of 48x64 pixels and 9 to 12 frames."""
    clips = [
        make_clip(number, number % num_classes, frames=9 + number % 4, height=48, width=64)
        for number in range(clips_per_class * num_classes)
    ]
    return write_dataset(
        folder, {"train": clips, "test": clips[: 2 * num_classes + 1]}, num_classes=num_classes
    )
