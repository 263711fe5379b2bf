"""Prepared data is read where it is; TensorFlow's in-memory file system stands for a bucket."""

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from prepared_records import read_clip

from perfnet_tf.cli.main import main
from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.dataset import build_dataset
from perfnet_tf.records.folder import read_dataset_info, read_failures, record_path

CLIP_ID = "class1/clip1"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from prepared_clips import write_tiny_dataset

    local = write_tiny_dataset(tmp_path_factory.mktemp("data") / "tiny", clips_per_class=2)
    remote = "ram://bucket/tiny"
    tf.io.gfile.makedirs(remote)
    for path in local.iterdir():
        tf.io.gfile.copy(str(path), f"{remote}/{path.name}")
    return local, remote


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """A run trained on the remote records."""
    _, remote = folders
    output = tmp_path_factory.mktemp("runs") / "rgb"
    command = ["train", f"--data={remote}", "--stream=rgb", f"--output={output}", "--preset=mini"]
    command += ["--backbone=s3d_g", "--width_multiplier=0.0625", "--clip=6x32x40", "--epochs=1"]
    assert main([*command, "--batch=2", "--noprogress"]) == 0
    return output


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
    np.testing.assert_array_equal(
        read_clip(remote, CLIP_ID).frames, read_clip(local, CLIP_ID).frames
    )


@pytest.mark.parametrize("chosen", [[], [f"--clip={CLIP_ID}"]])
def test_inspect_shows_remote_records_as_those_of_the_folder(folders, tmp_path, capsys, chosen):
    pictures, texts = [], []
    for number, data in enumerate(folders):
        output = tmp_path / f"{number}.png"
        assert main(["inspect", f"--data={data}", f"--output={output}", *chosen]) == 0
        pictures.append(cv2.imread(str(output)))
        texts.append(capsys.readouterr().out.replace(str(data), "").replace(str(output), ""))
    np.testing.assert_array_equal(*pictures)
    assert texts[0] == texts[1]


def test_inspect_verifies_remote_records_as_those_of_the_folder(folders, capsys):
    found = []
    for data in folders:
        status = main(["inspect", f"--data={data}", "--verify"])
        captured = capsys.readouterr()
        found.append((status, captured.out.replace(str(data), ""), captured.err))
    assert found[0] == found[1]
    assert "12 intact clips" in found[0][1]


def test_a_network_is_trained_evaluated_and_explained_on_remote_records(
    folders, run, tmp_path, capsys
):
    results, pictures = [], []
    for number, data in enumerate(folders):
        output = tmp_path / f"evaluation{number}"
        command = ["evaluate", f"--runs={run}", f"--data={data}", "--split=train"]
        assert main([*command, f"--output={output}"]) == 0
        results.append(json.loads((output / "metrics.json").read_text()))
        picture = tmp_path / f"{number}.png"
        command = ["explain", f"--run={run}", f"--data={data}", f"--clip={CLIP_ID}"]
        assert main([*command, f"--output={picture}"]) == 0, capsys.readouterr().err
        pictures.append(cv2.imread(str(picture)))
    assert results[0] == results[1]
    np.testing.assert_array_equal(*pictures)


def test_a_missing_bucket_is_reported_as_a_missing_folder():
    with pytest.raises(InputError, match="ram://bucket/none. Make one with perfnet prepare"):
        read_dataset_info("ram://bucket/none")
    with pytest.raises(InputError, match="gs5://bucket/none"):
        read_dataset_info("gs5://bucket/none")


def test_a_lost_or_cut_off_remote_shard_is_named(folders):
    local, _ = folders
    remote = "ram://bucket/damaged"
    tf.io.gfile.makedirs(remote)
    for path in local.iterdir():
        tf.io.gfile.copy(str(path), f"{remote}/{path.name}", overwrite=True)
    first = read_dataset_info(remote).splits["train"]["shards"][0]
    whole = tf.io.gfile.GFile(f"{remote}/{first}", "rb").read()
    for damage in (whole[:20], b"", None):
        tf.io.gfile.remove(f"{remote}/{first}")
        if damage is not None:
            with tf.io.gfile.GFile(f"{remote}/{first}", "wb") as file:
                file.write(damage)
        with pytest.raises(InputError, match=f"{remote}/{first} is missing or cut off"):
            for number in range(6):
                read_clip(remote, f"class{number % 3}/clip{number}")


def test_paths_are_joined_with_one_slash():
    assert record_path("gs://bucket/data/", "dataset.json") == "gs://bucket/data/dataset.json"
    assert record_path("data/", "dataset.json") == "data/dataset.json"
