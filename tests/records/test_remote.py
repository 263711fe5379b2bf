"""Prepared data is read where it lies; TensorFlow's in-memory file system stands for a bucket."""

import numpy as np
import pytest
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.records.folder import read_dataset_info, read_failures, record_path
from perfnet_tf.records.reader import read_clip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from prepared_clips import write_tiny_dataset

    local = write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", clips_per_class=2)
    remote = "ram://bucket/tiny"
    tf.io.gfile.makedirs(remote)
    for path in local.iterdir():
        tf.io.gfile.copy(str(path), f"{remote}/{path.name}")
    return local, remote


def test_remote_records_are_those_of_the_folder(folders):
    local, remote = folders
    assert read_dataset_info(remote) == read_dataset_info(local)
    assert read_failures(remote) == []
    options = dict(
        clip=ClipConfig(5, 24, 32), streams=["rgb", "flow"], batch_size=2, training=True, seed=1
    )
    ours = next(iter(build_dataset(remote, "train", **options)))
    theirs = next(iter(build_dataset(f"{local}/", "train", **options)))
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value)
    clip_id = "class1/clip1"
    np.testing.assert_array_equal(
        read_clip(remote, clip_id).frames, read_clip(local, clip_id).frames
    )


def test_a_missing_bucket_is_told_as_a_missing_folder():
    with pytest.raises(InputError, match="ram://bucket/none. Make one with perfnet prepare"):
        read_dataset_info("ram://bucket/none")
    with pytest.raises(InputError, match="gs5://bucket/none"):
        read_dataset_info("gs5://bucket/none")


def test_paths_are_joined_with_one_slash():
    assert record_path("gs://bucket/data/", "dataset.json") == "gs://bucket/data/dataset.json"
    assert record_path("data/", "dataset.json") == "data/dataset.json"
