import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from prepared_records import read_clip
from small_clips import CLASSES, find_clips, write_video
from small_preparation import CONFIG, contents, prepare, stored_ids

from perfnet_tf.errors import InputError
from perfnet_tf.preparation import extract
from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_failures, read_index


def test_every_clip_becomes_one_record_with_all_streams(prepared, videos):
    assert sorted(stored_ids(prepared)) == sorted(c.clip_id for c in find_clips(videos))
    clip = read_clip(prepared, "Up/clip2")
    assert clip.frames.shape == (9, 24, 32, 3)  # short side 48 became 24
    np.testing.assert_allclose(clip.timestamps, np.arange(9) / 25, atol=1e-6)
    assert (clip.label, clip.label_name, clip.group) == (1, "Up", "clip2")
    np.testing.assert_allclose(clip.keypoints[:, 0, 5], [[0.5, 0.5, 0.9]] * 9, atol=1e-6)
    assert not clip.keypoints[:, 1].any()
    # Computed after the resize: the block falls 2 of 48 pixels per frame, 1 of 24.
    top = (np.arange(9) * 2 + 14) // 2
    inside = [clip.flow[t, top[t] + 2 : top[t] + 4, 12:18, 1].mean() for t in range(8)]
    assert 0.5 < np.median(inside) < 1.5
    np.testing.assert_array_equal(clip.flow[-1], clip.flow[-2])


def test_dataset_file_counts_what_the_records_hold(prepared):
    info = read_dataset_info(prepared)
    train, test = info.split("train"), info.split("test")
    assert (train["num_clips"], test["num_clips"]) == (6, 2)
    assert train["num_frames"] == (7 + 8 + 9) + (8 + 9 + 10) and test["num_frames"] == 6 + 7
    assert train["shards"] == [f"train-{i:05d}-of-00003.tfrecord" for i in range(3)]
    assert train["clips_per_shard"] == [2, 2, 2]
    assert train["clips_per_class"] == {"Down": 3, "Up": 3}
    assert train["pose_quality"]["Up"] == {"person": 1.0, "keypoints": 1.0}
    for name, digest in zip(train["shards"], train["sha256"], strict=True):
        assert hashlib.sha256((prepared / name).read_bytes()).hexdigest() == digest
    assert (info.num_failed, info.num_truncated) == (0, 0)
    assert read_failures(prepared) == []
    frames = {e.clip_id: e.num_frames for e in read_index(prepared, "train")}
    assert frames["Down/clip3"] == 9
    assert {path.name for path in prepared.iterdir()} == {
        "dataset.json",
        "failures.jsonl",
        "train.index.jsonl",
        "test.index.jsonl",
        *train["shards"],
        *test["shards"],
    }


def test_complete_dataset_is_left_alone(prepared, videos):
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    result = prepare(videos, prepared)
    assert result.already_complete and result.num_made == 0
    assert result.info == read_dataset_info(prepared)
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before


def test_another_preparation_into_the_same_folder_is_refused(prepared, videos, tmp_path):
    before = contents(prepared)
    with pytest.raises(InputError, match="short_side=24 there, 32 now"):
        prepare(videos, prepared, dataclasses.replace(CONFIG, short_side=32))
    with pytest.raises(InputError, match="source_clips"):
        prepare(videos, prepared, clips=find_clips(videos)[1:])
    assert contents(prepared) == before
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="thesis.tex"):
        prepare(videos, tmp_path)
    assert "thesis.tex" in contents(tmp_path) and not (tmp_path / schema.PARTS_FOLDER).exists()


def test_bad_videos_are_counted_and_named_with_their_cause(videos, tmp_path):
    mixed = tmp_path / "videos"
    shutil.copytree(videos, mixed)
    (mixed / "Up" / "text1.avi").write_text("not a video at all\n" * 100)
    write_video(mixed / "Up" / "single1.mp4", frames=1)
    write_video(mixed / "Down" / "long1.mp4", frames=30)
    write_video(mixed / "Down" / "nokeypoints1.mp4", frames=6)
    (mixed / "Down" / "nokeypoints1.keypoints.json").unlink()
    config = dataclasses.replace(CONFIG, max_seconds=0.5)
    output = tmp_path / "records"
    result = prepare(mixed, output, config, missing={"Up/gone": "test"})
    failures = {failure.clip_id: failure for failure in read_failures(output)}
    assert set(failures) == {
        "Up/text1",
        "Up/single1",
        "Down/long1",
        "Down/nokeypoints1",
        "Up/gone",
    }
    assert "text" in failures["Up/text1"].cause
    assert "at least 2 frames" in failures["Up/single1"].cause
    assert "keypoint file" in failures["Down/nokeypoints1"].cause
    assert "no such file" in failures["Up/gone"].cause and failures["Up/gone"].split == "test"
    assert failures["Down/long1"].kept and "max_seconds=0.5" in failures["Down/long1"].cause
    assert (result.info.num_failed, result.info.num_truncated) == (4, 1)
    ids = stored_ids(output)
    assert len(ids) == len(set(ids)) == 9 and "Down/long1" in ids
    long = read_clip(output, "Down/long1")
    assert long.num_frames == 13 and long.truncated  # frames before 0.5 s
    assert not read_clip(output, "Up/clip1").truncated


def test_video_that_breaks_off_is_kept_and_reported(videos, tmp_path):
    source = tmp_path / "videos" / "Up" / "cut1.avi"
    source.parent.mkdir(parents=True)
    import cv2

    writer = cv2.VideoWriter(str(source), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for seed in range(60):
        noise = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        writer.write(noise)
    writer.release()
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    config = dataclasses.replace(CONFIG, pose="none", flow="none")
    result = prepare(source.parents[1], tmp_path / "records", config)
    (failure,) = read_failures(tmp_path / "records")
    assert failure.kept and "breaks off" in failure.cause
    assert (result.info.num_failed, result.info.num_truncated) == (0, 1)
    clip = read_clip(tmp_path / "records", "Up/cut1")
    assert clip.truncated and 2 <= clip.num_frames < 60
    assert clip.flow is None and clip.keypoints is None
    assert (result.info.flow, result.info.pose) == (None, None)


def test_clip_that_no_record_holds_is_kept_in_part(videos, prepared, tmp_path, monkeypatch):
    whole = read_clip(prepared, "Up/clip3")
    (size,) = [e.length for e in read_index(prepared, "train") if e.clip_id == "Up/clip3"]
    monkeypatch.setattr(extract, "MAX_RECORD_BYTES", size // 2)
    clips = [clip for clip in find_clips(videos) if clip.clip_id == "Up/clip3"]
    output = tmp_path / "records"
    prepare(videos, output, clips=clips)
    (failure,) = read_failures(output)
    assert failure.kept and re.search(r"Larger than .* the rest after 0\.\d s", failure.cause)
    clip = read_clip(output, "Up/clip3")
    assert clip.truncated and 2 <= clip.num_frames < whole.num_frames
    for name in ("frames", "timestamps", "keypoints", "boxes"):
        value = getattr(clip, name)
        np.testing.assert_array_equal(value, getattr(whole, name)[: clip.num_frames])
    np.testing.assert_array_equal(clip.flow[:-1], whole.flow[: clip.num_frames - 1])
    np.testing.assert_array_equal(clip.flow[-1], clip.flow[-2])


def test_local_work_does_not_import_beam():
    """Also where it is installed: its import takes seconds."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, perfnet_tf.preparation.build, perfnet_tf.preparation.worker_pool\n"
            "assert 'apache_beam' not in sys.modules",
        ],
        check=False,
    )
    assert result.returncode == 0


def test_arguments_that_break_a_rule_are_refused(videos, tmp_path):
    clips = find_clips(videos)
    for bad, message in (
        ([clips[0], clips[0]], "unique"),
        ([dataclasses.replace(clips[0], label=1)], "index of its class"),
        ([dataclasses.replace(clips[0], label=7)], "index of its class"),
    ):
        with pytest.raises(InputError, match=message):
            prepare(videos, tmp_path / "records", clips=bad)
    with pytest.raises(InputError, match="at least one clip"):
        build_records([], tmp_path / "records", CONFIG, CLASSES)
    with pytest.raises(InputError, match="workers"):
        prepare(videos, tmp_path / "records", workers=-1)
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"fps": 0}, "fps"),
        ({"short_side": 8}, "short_side"),
        ({"pose": "openpose"}, "pose"),
        ({"pose": "posenet"}, "`pose_weights`"),
        ({"flow": "tv-l1"}, "Did you mean 'tvl1'"),
        ({"max_people": 0}, "max_people"),
        ({"flow_bound": 0.0}, "flow_bound"),
        ({"max_seconds": -1}, "max_seconds"),
        ({"clips_per_shard": 0}, "clips_per_shard"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_weights_count_by_content_not_by_place(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(content)
    identities = [
        PrepareConfig("toy", pose_weights=str(tmp_path / name)).identity() for name in "abc"
    ]
    assert identities[0] == identities[1] != identities[2]
    json.dumps(identities[0])
    with pytest.raises(InputError, match="absent"):
        PrepareConfig("toy", pose_weights=str(tmp_path / "absent")).identity()
