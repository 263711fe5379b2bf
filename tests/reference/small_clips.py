"""Small clips: arrays for the records, and videos with keypoint files for the preparation."""

from __future__ import annotations

import json
import pathlib

import cv2
import numpy as np

from perfnet_tf.records.schema import ClipRecord, DatasetInfo, SourceClip

CLASSES = ("Down", "Up")


def make_record(*, frames: int = 7, people: int = 2, seed: int = 0) -> ClipRecord:
    random = np.random.default_rng(seed)
    height, width = 30, 44
    # JPEG keeps a smooth picture; noise it would change beyond recognition.
    ramp = np.linspace(0, 200, width, dtype=np.uint8)
    picture = np.zeros((frames, height, width, 3), np.uint8)
    picture[..., 0] = ramp
    picture[..., 1] = (30 * np.arange(frames))[:, None, None]
    return ClipRecord(
        clip_id="Up/clip_é",
        label=1,
        label_name="Up",
        frames=picture,
        timestamps=np.arange(frames) / 25,
        fps=25.0,
        keypoints=random.random((frames, people, 17, 3), dtype=np.float32),
        boxes=random.random((frames, people, 4), dtype=np.float32),
        flow=random.uniform(-20, 20, (frames, height, width, 2)).astype(np.float32),
        group="g01",
        truncated=True,
    )


def make_info(**changes) -> DatasetInfo:
    values = dict(
        name="toy",
        classes=CLASSES,
        splits={},
        fps=25.0,
        short_side=30,
        pose="posenet",
        max_people=3,
        flow="tvl1",
        flow_bound=20.0,
    )
    return DatasetInfo(**{**values, **changes})


def write_video(
    path: pathlib.Path, *, frames: int, seed: int = 0, people: int = 1, fps: float = 25
) -> None:
    """A block that moves by 2 pixels per frame, and its keypoint file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (64, 48))
    for time in range(frames):
        frame = np.full((48, 64, 3), 60, np.uint8)
        top = (2 * time + 7 * seed) % 36
        frame[top : top + 12, 20:40] = (40, 90, 220)
        writer.write(frame)
    writer.release()
    person = [[32.0, 24.0, 0.9]] * 17
    keypoints = {"fps": 25, "width": 64, "height": 48, "frames": [[person] * people] * frames}
    path.with_suffix(".keypoints.json").write_text(json.dumps(keypoints))


def find_clips(videos: pathlib.Path) -> list[SourceClip]:
    """Every file in a folder per class; those whose name ends in 0 are the test split."""
    paths = sorted(p for p in videos.rglob("*") if p.suffix in (".mp4", ".avi"))
    return [
        SourceClip(
            clip_id=f"{path.parent.name}/{path.stem}",
            path=str(path),
            label=CLASSES.index(path.parent.name),
            label_name=path.parent.name,
            split="test" if path.stem.endswith("0") else "train",
            group=path.stem,
        )
        for path in paths
    ]
