import dataclasses
import json

import pytest
from prepared_clips import make_clip, write_dataset

from perfnet_tf.datasets import official_splits
from perfnet_tf.datasets.official_counts import OFFICIAL_COUNTS
from perfnet_tf.datasets.official_splits import (
    choose_splits,
    data_notes,
    load_all_splits,
    official_split_folders,
    write_official_splits,
)
from perfnet_tf.errors import InputError
from perfnet_tf.records.folder import read_dataset_info, read_index, write_dataset_info

CLIPS = {f"{label}": f"Class{label}/v_Class{label}_g0{label}_c01" for label in range(4)}


def write_hmdb(folder, membership):
    """`membership`: clip number -> its number (0 unused, 1 train, 2 test) in the three lists."""
    (folder / "wave").mkdir(parents=True)
    for clip in membership:
        (folder / "wave" / f"{clip}.avi").touch()
    for split in range(3):
        lines = [f"{clip}.avi {numbers[split]} \n" for clip, numbers in membership.items()]
        (folder / f"wave_test_split{split + 1}.txt").write_text("".join(lines))
    return folder


def test_every_clip_of_any_split_is_prepared_once(tmp_path):
    videos = write_hmdb(
        tmp_path, {"a": (1, 2, 1), "b": (2, 1, 1), "c": (0, 1, 2), "d": (0, 0, 0), "e": (1, 1, 0)}
    )
    every = load_all_splits("hmdb51", videos=videos)
    stored = {clip.clip_id: clip.split for clip in every.catalog.clips}
    assert stored == {"wave/a": "train", "wave/b": "test", "wave/c": "unused", "wave/e": "train"}
    assert every.memberships == {
        1: {"train": ("wave/a", "wave/e"), "test": ("wave/b",)},
        2: {"train": ("wave/b", "wave/c", "wave/e"), "test": ("wave/a",)},
        3: {"train": ("wave/a", "wave/b"), "test": ("wave/c",)},
    }


@pytest.mark.data
@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_the_official_lists_have_the_official_counts(real_data, tmp_path, dataset):
    lists = real_data / "splits" / dataset
    for path in lists.glob("t*list*.txt" if dataset == "ucf101" else "*_test_split*.txt"):
        for line in path.read_text().splitlines():
            name = line.split()[0] if line.strip() else None
            if name:
                class_name = path.name.split("_test_split")[0]
                place = name if dataset == "ucf101" else f"{class_name}/{name}"
                (tmp_path / place).parent.mkdir(exist_ok=True)
                (tmp_path / place).touch()
    every = load_all_splits(dataset, videos=tmp_path, splits=lists)
    counts = {
        number: {name: len(clips) for name, clips in splits.items()}
        for number, splits in every.memberships.items()
    }
    assert counts == OFFICIAL_COUNTS[dataset]
    assert len(every.catalog.clips) == {"ucf101": 13320, "hmdb51": 6371}[dataset]
    assert every.catalog.notes == ()


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Nine clips, prepared as UCF-101 is with --official_split=all."""
    clips = [make_clip(n, n % 3, frames=4, height=24, width=32) for n in range(9)]
    folder = write_dataset(
        tmp_path / "data", {"train": clips[:6], "test": clips[6:]}, num_classes=3
    )
    write_dataset_info(folder, dataclasses.replace(read_dataset_info(folder), name="ucf101"))
    ids = [clip.clip_id for clip in clips]
    memberships = {
        number: {
            "test": tuple(ids[3 * k : 3 * k + 3]),
            "train": tuple(ids[: 3 * k] + ids[3 * k + 3 :]),
        }
        for number, k in ((1, 2), (2, 1), (3, 0))
    }
    write_official_splits(folder, memberships)
    return folder, memberships


def test_each_split_is_a_dataset_of_the_same_records(prepared):
    folder, memberships = prepared
    folders = official_split_folders(folder)
    assert folders == {n: str(folder / f"split{n}") for n in (1, 2, 3)}
    for number, path in folders.items():
        info = read_dataset_info(path)
        assert (info.name, info.parameters["official_split"]) == (f"ucf101-split{number}", number)
        for name, ids in memberships[number].items():
            assert {entry.clip_id for entry in read_index(path, name)} == set(ids)
    assert not list(folder.glob("split*/*.tfrecord"))


def test_splits_are_chosen_by_number_or_all(prepared, tmp_path):
    folder, _ = prepared
    assert list(choose_splits(folder, "all")) == [1, 2, 3]
    assert choose_splits(folder, "3,1") == {n: str(folder / f"split{n}") for n in (3, 1)}
    for bad in ("4", "one", ""):
        with pytest.raises(InputError, match="`splits` is all, or numbers of 1, 2, 3"):
            choose_splits(folder, bad)
    with pytest.raises(
        InputError, match="holds one split only. Run `perfnet prepare --official_split=all`"
    ):
        choose_splits(folder / "split1", "all")


def test_datasets_of_one_split_are_refused(tmp_path):
    with pytest.raises(InputError, match="ucf101 and hmdb51 .* Received: folder. Give the number"):
        load_all_splits("folder", videos=tmp_path)
    assert set(official_splits.OFFICIAL_SPLITS) == set(OFFICIAL_COUNTS)


def test_notes_tell_of_missing_classes_clips_and_failures(prepared):
    folder, _ = prepared
    info = read_dataset_info(folder)
    assert data_notes(folder)[0].startswith("3 of the 101 classes of ucf101")
    classes = tuple(f"class{n}" for n in range(101))
    write_dataset_info(folder, dataclasses.replace(info, classes=classes, num_truncated=2))
    failures = [
        {"clip_id": "x", "path": "", "split": "", "cause": "Listed, but gone.", "kept": False},
        {"clip_id": "y", "path": "y.avi", "split": "test", "cause": "No frame.", "kept": False},
        {"clip_id": "z", "path": "z.avi", "split": "test", "cause": "Broke off.", "kept": True},
    ]
    (folder / "failures.jsonl").write_text("".join(json.dumps(f) + "\n" for f in failures))
    counts, lost, broken = data_notes(folder)
    assert "6 training and 3 test clips" in counts and "9537 + 3783 (split 1)" in counts
    assert "2 clips are missing or could not be read" in lost
    assert "of the lists 1, test 1" in lost
    assert broken.startswith("2 videos broke off")
