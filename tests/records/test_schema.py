import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest
from small_clips import make_info

from perfnet_tf.errors import InputError
from perfnet_tf.records import schema
from perfnet_tf.records.folder import (
    read_dataset_info,
    read_failures,
    read_index,
    write_dataset_info,
)
from perfnet_tf.records.schema import ClipFailure, IndexEntry, SourceClip, SplitInfo

SPLIT = SplitInfo(
    num_clips=1,
    num_frames=7,
    shards=["train-00000-of-00001.tfrecord"],
    clips_per_shard=[1],
    sha256=["00"],
    clips_per_class={"Down": 0, "Up": 1},
    pose_quality={"Up": {"person": 1.0, "keypoints": 0.5}},
)


def test_dataset_info_survives_the_disk(tmp_path):
    info = make_info(splits={"train": SPLIT}, fps=None, num_failed=2, parameters={"flow": "tvl1"})
    write_dataset_info(tmp_path, info)
    assert read_dataset_info(tmp_path) == info
    assert read_dataset_info(str(tmp_path)).num_classes == 2


def test_folder_without_a_dataset_is_named_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}.*perfnet prepare"):
        read_dataset_info(tmp_path)
    with pytest.raises(InputError, match="absent.*perfnet prepare"):
        read_dataset_info(tmp_path / "absent")


def test_unfinished_preparation_is_distinguished_from_no_dataset(tmp_path):
    (tmp_path / schema.PARTS_FOLDER).mkdir()
    with pytest.raises(InputError, match="not finished"):
        read_dataset_info(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", '{"classes": ["a"], "colour": 1}', "[]", "3"])
def test_damaged_dataset_file_is_refused(tmp_path, text):
    (tmp_path / schema.DATASET_FILE).write_text(text)
    with pytest.raises(InputError, match="dataset.json"):
        read_dataset_info(tmp_path)


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(InputError, match="dataset.json cannot be read: Is a directory"):
        read_dataset_info(tmp_path)
    (tmp_path / "failures.jsonl").mkdir()
    with pytest.raises(InputError, match="failures.jsonl cannot be read"):
        read_failures(tmp_path)


def test_unknown_split_lists_those_there(tmp_path):
    info = make_info(splits={"train": SPLIT})
    with pytest.raises(InputError, match="train"):
        info.split("test")
    assert info.split("train")["num_frames"] == 7


def test_clip_of_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="split"):
        SourceClip("a", "a.mp4", 0, "a", "validation")


def test_index_and_failures_are_read_line_by_line(tmp_path):
    split = {**SPLIT, "num_clips": 2, "clips_per_shard": [2]}
    write_dataset_info(tmp_path, make_info(splits={"train": split}))
    entries = [IndexEntry("Up/é", 1, 7, 0, 12, 100), IndexEntry("Up/b", 1, 8, 0, 128, 50)]
    failure = ClipFailure("Up/c", "c.avi", "train", "A cause.")
    for name, lines in (("train.index.jsonl", entries), (schema.FAILURES_FILE, [failure])):
        text = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines)
        (tmp_path / name).write_text(text)
    assert list(read_index(tmp_path, "train")) == entries
    assert read_failures(tmp_path) == [failure]
    assert read_failures(tmp_path / "absent") == []
    with pytest.raises(InputError):
        list(read_index(tmp_path, "test"))
    index = tmp_path / "train.index.jsonl"
    line = json.dumps(dataclasses.asdict(entries[0])) + "\n"
    for damaged, message in (
        (line, "each of the 2 clips.*Received: 1"),
        (3 * line, "each of the 2 clips.*Received: 3"),
        (line + line[:30], "damaged in line 2"),
        (line.replace('"shard": 0', '"shard": 1'), "line 1: shard must be from 0 to 0, and is 1"),
        (line.replace('"label": 1', '"label": true'), "label must be from 0 to 1, and is True"),
        (line.replace('"offset": 12, ', ""), "lacks 'offset'"),
        ("[" * 100_000, "damaged in line 1"),
    ):
        index.write_text(damaged)
        with pytest.raises(InputError, match=f"{index.name}.*{message}"):
            list(read_index(tmp_path, "train"))
    index.unlink()
    with pytest.raises(InputError, match="index.jsonl is missing"):
        list(read_index(tmp_path, "train"))
    (tmp_path / schema.FAILURES_FILE).write_text('{"clip_id": 3}\n')
    with pytest.raises(InputError, match="failures.jsonl is damaged in line 1: clip_id"):
        read_failures(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": ["Up", "Down"]}, "order, are not those of the preparation"),
        ({"classes": ["Down", "Down"]}, "different names"),
        ({"splits": {"train": {**SPLIT, "num_clips": 2}}}, "splits.train contradict each other"),
        ({"splits": {"train": {**SPLIT, "shards": []}}}, "splits.train contradict each other"),
        ({"max_people": 10**9}, "max_people must be from 1 to 1000"),
        ({"fps": float("nan")}, "fps is out of range"),
        ({"flow_bound": float("inf")}, "flow_bound is out of range"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, changes, message):
    digest = hashlib.sha256(b"Down\nUp").hexdigest()
    info = make_info(splits={"train": SPLIT}, parameters={"classes_sha256": digest})
    write_dataset_info(tmp_path, info)
    path = tmp_path / schema.DATASET_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=f"dataset.json.*{message}"):
        read_dataset_info(tmp_path)


def test_schema_and_settings_do_not_import_tensorflow():
    code = (
        "import sys, perfnet_tf.records.schema, perfnet_tf.preparation.config;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
