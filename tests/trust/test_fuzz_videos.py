"""Mutated videos through `prepare`: no crash, no hang, bounded memory, every good clip there."""

import collections
import os
import re

import pytest
from mutations import PeakMemory, base_videos, generator, mutate_video
from prepared_records import read_clip

from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_failures, read_index
from perfnet_tf.records.verification import verify_dataset

CONFIG = PrepareConfig(
    name="fuzz", short_side=16, pose="none", flow="none", clips_per_shard=500, max_seconds=20
)


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutated_videos_cost_themselves_only(tmp_path, count):
    bases = base_videos(tmp_path / "bases")
    random = generator(count)
    videos = tmp_path / "videos"
    videos.mkdir()
    clips = []
    for number in range(count):
        path = videos / f"bad{number:04}.{('avi', 'mp4', 'mkv', 'webm')[number % 4]}"
        path.write_bytes(mutate_video(bases, random))
        clips.append(schema.SourceClip(f"x/bad{number:04}", str(path), 0, "x", "train"))
        if number % 20 == 0:
            path = videos / f"good{number:04}.avi"
            path.write_bytes(bases[number // 20 % len(bases)])
            clips.append(schema.SourceClip(f"x/good{number:04}", str(path), 0, "x", "train"))
    output = tmp_path / "records"
    with PeakMemory(os.getpid()) as memory:
        result = build_records(
            clips, output, CONFIG, ["x"], workers=min(2, count // 60), clip_time_limit=60
        )
    # One record or one failure for each, and all records intact.
    stored = {entry.clip_id for entry in read_index(output, "train")}
    failures = read_failures(output)
    lost = {failure.clip_id for failure in failures if not failure.kept}
    assert stored | lost == {clip.clip_id for clip in clips} and not stored & lost
    assert all(failure.cause.strip() and "\n" not in failure.cause for failure in failures)
    verified = verify_dataset(output)
    assert verified.damages == () and verified.num_clips == len(stored) == len(clips) - len(lost)
    good = [clip.clip_id for clip in clips if clip.clip_id.startswith("x/good")]
    assert stored.issuperset(good)
    for clip_id in good[:: max(1, len(good) // 20)]:
        record = read_clip(output, clip_id)
        assert record.frames.shape == (8, 16, 21, 3) and not record.truncated
    causes = collections.Counter(
        re.sub(r"[\d.]+|/\S+", "#", failure.cause)[:70] for failure in failures
    )
    print(f"\n{count} mutated, {len(lost)} failed, {result.info.num_truncated} kept in part")
    print(f"largest worker {memory.bytes / 2**20:.0f} MiB, {result.seconds:.0f} s")
    for cause, number in causes.most_common(12):
        print(f"{number:5} {cause}")
    assert 0.1 * count < len(lost) < count
    assert memory.bytes < 3 << 30
