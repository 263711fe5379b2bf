import shutil

import pytest
from prepared_clips import write_tiny_dataset
from prepared_records import read_clip

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.subset import write_subset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny")


def ids(folder, split):
    return [entry.clip_id for entry in read_index(folder, split)]


def subset(dataset, folder, splits):
    return write_subset(dataset, folder, splits, name="tiny-other", parameters={"part": 3})


def test_a_subset_holds_the_records_that_it_names(dataset, tmp_path):
    chosen = ids(dataset, "train")[3:9]
    info = subset(dataset, tmp_path / "deep/subset", {"train": chosen[:4], "val": chosen[4:]})
    assert read_dataset_info(tmp_path / "deep/subset") == info
    assert (info.name, info.parameters["part"], info.num_classes) == ("tiny-other", 3, 3)
    assert info.split("train")["num_clips"] == 4 == sum(info.split("train")["clips_per_shard"])
    assert sum(info.split("val")["clips_per_class"].values()) == 2
    batches = build_dataset(
        tmp_path / "deep/subset",
        "train",
        clip=ClipConfig(4, 16, 16),
        streams=["rgb", "flow"],
        batch_size=4,
        training=False,
        with_clip_ids=True,
    )
    (batch,) = batches
    found = [name.decode() for name in batch["clip_id"].numpy()]
    assert sorted(found) == sorted(chosen[:4])
    assert [f"class{label}" for label in batch["label"].numpy()] == [x.split("/")[0] for x in found]
    clip = read_clip(tmp_path / "deep/subset", chosen[5])
    assert (clip.clip_id, clip.num_frames) == (chosen[5], clip.frames.shape[0])


def test_a_subset_moves_with_its_dataset_and_is_written_again_alike(dataset, tmp_path):
    moved = tmp_path / "before"
    shutil.copytree(dataset, moved)
    chosen = {"train": ids(moved, "train")[:5]}
    subset(moved, moved / "inside", chosen)
    first = {path.name: path.read_bytes() for path in (moved / "inside").iterdir()}
    subset(moved, moved / "inside", chosen)
    assert {path.name: path.read_bytes() for path in (moved / "inside").iterdir()} == first
    moved = moved.rename(tmp_path / "after")
    assert read_clip(moved / "inside", chosen["train"][0]).num_frames > 0


def test_a_subset_of_a_subset_reads_the_first_ones_records(dataset, tmp_path):
    chosen = ids(dataset, "train")[:6]
    subset(dataset, tmp_path / "a", {"train": chosen})
    subset(tmp_path / "a", tmp_path / "b/c", {"test": chosen[2:4]})
    assert ids(tmp_path / "b/c", "test") == chosen[2:4]
    assert read_clip(tmp_path / "b/c", chosen[3]).clip_id == chosen[3]


def test_clips_of_several_stored_splits_may_be_mixed(dataset, tmp_path):
    shards = [f"train-0000{k}-of-00002.tfrecord" for k in (0, 1)]
    info = subset(dataset, tmp_path / "mixed", {"train": ids(dataset, "train")})
    assert [name.split("/")[-1] for name in info.split("train")["shards"][:2]] == shards


def test_what_could_not_be_read_is_left_out_and_an_empty_split_refused(dataset, tmp_path):
    first = ids(dataset, "train")[0]
    info = subset(dataset, tmp_path / "s", {"train": [first, "class0/broken"]})
    assert info.split("train")["num_clips"] == 1
    with pytest.raises(InputError, match="none of the 1 of 'val'"):
        subset(dataset, tmp_path / "t", {"train": [first], "val": ["class0/broken"]})
