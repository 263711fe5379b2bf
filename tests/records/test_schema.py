import dataclasses
import json
import subprocess
import sys

import pytest
from small_clips import make_info

from perfnet_tf.errors import InputError
from perfnet_tf.records import schema
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
    schema.write_dataset_info(tmp_path, info)
    assert schema.read_dataset_info(tmp_path) == info
    assert schema.read_dataset_info(str(tmp_path)).num_classes == 2


def test_folder_without_a_dataset_is_named_with_the_remedy(tmp_path):
    with pytest.raises(InputError, match=f"{tmp_path}.*perfnet prepare"):
        schema.read_dataset_info(tmp_path)
    with pytest.raises(InputError, match="absent.*perfnet prepare"):
        schema.read_dataset_info(tmp_path / "absent")


def test_unfinished_preparation_is_told_from_no_dataset(tmp_path):
    (tmp_path / schema.PARTS_FOLDER).mkdir()
    with pytest.raises(InputError, match="not finished"):
        schema.read_dataset_info(tmp_path)


@pytest.mark.parametrize("text", ["{", "{}", '{"classes": ["a"], "colour": 1}', "[]", "3"])
def test_damaged_dataset_file_is_refused(tmp_path, text):
    (tmp_path / schema.DATASET_FILE).write_text(text)
    with pytest.raises(InputError, match="dataset.json"):
        schema.read_dataset_info(tmp_path)


def test_unknown_split_lists_those_there(tmp_path):
    info = make_info(splits={"train": SPLIT})
    with pytest.raises(InputError, match="train"):
        info.split("test")
    assert info.split("train")["num_frames"] == 7


def test_clip_of_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="split"):
        SourceClip("a", "a.mp4", 0, "a", "validation")


def test_index_and_failures_are_read_line_by_line(tmp_path):
    schema.write_dataset_info(tmp_path, make_info(splits={"train": SPLIT}))
    entries = [IndexEntry("Up/é", 1, 7, 0, 12, 100), IndexEntry("Up/b", 1, 8, 0, 128, 50)]
    failure = ClipFailure("Up/c", "c.avi", "train", "A cause.")
    for name, lines in (("train.index.jsonl", entries), (schema.FAILURES_FILE, [failure])):
        text = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in lines)
        (tmp_path / name).write_text(text)
    assert list(schema.read_index(tmp_path, "train")) == entries
    assert schema.read_failures(tmp_path) == [failure]
    assert schema.read_failures(tmp_path / "absent") == []
    with pytest.raises(InputError):
        list(schema.read_index(tmp_path, "test"))


def test_schema_and_settings_do_not_import_tensorflow():
    code = (
        "import sys, perfnet_tf.records.schema, perfnet_tf.records.prepare_config;"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
