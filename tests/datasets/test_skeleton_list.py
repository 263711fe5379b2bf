"""Skeleton pickles as lists of videos."""

import pickle

import numpy as np
import pytest

from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.errors import InputError

NAMES = ("v_Lunges_g01_c01", "v_Lunges_g02_c01", "v_Swing_g01_c01", "v_Swing_g09_c03")
SPLITS = {
    "train1": [NAMES[0], NAMES[2]],
    "test1": [NAMES[1], NAMES[3]],
    "train2": [NAMES[1], NAMES[3]],
    "test2": [NAMES[0], NAMES[2], "v_Swing_g20_c01"],
}


def write(path, splits=SPLITS, labels=(51, 51, 88, 88), names=NAMES):
    annotations = [
        {
            "frame_dir": name,
            "label": label,
            "img_shape": (240, 320),
            "original_shape": (240, 320),
            "total_frames": 3,
            "keypoint": np.zeros((1, 3, 17, 2), np.float16),
            "keypoint_score": np.zeros((1, 3, 17), np.float16),
        }
        for name, label in zip(names, labels, strict=True)
    ]
    path.write_bytes(pickle.dumps({"split": splits, "annotations": annotations}))
    return path


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    for name in NAMES:
        file = folder / name.split("_")[1] / f"{name}.avi"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return folder


def load(videos, path, split=1):
    return load_catalog("list", videos=videos, splits=path, split=split)


def test_videos_are_found_in_their_class_folders(tmp_path, videos):
    catalog = load(videos, write(tmp_path / "ucf101_hrnet.pkl"))
    assert catalog.label_kind == "single" and len(catalog.classes) == 89
    assert {clip.clip_id: (clip.label, clip.split) for clip in catalog.clips} == {
        "Lunges/v_Lunges_g01_c01": (51, "train"),
        "Lunges/v_Lunges_g02_c01": (51, "test"),
        "Swing/v_Swing_g01_c01": (88, "train"),
        "Swing/v_Swing_g09_c03": (88, "test"),
    }


def test_the_number_picks_the_split(tmp_path, videos):
    catalog = load(videos, write(tmp_path / "it.pkl"), split=2)
    assert {c.clip_id[-7:] for c in catalog.clips if c.split == "train"} == {"g02_c01", "g09_c03"}
    assert "1 clips of the splits have no annotation, and are left out." in catalog.notes


def test_clips_without_a_video_are_counted(tmp_path, videos):
    (videos / "Swing" / f"{NAMES[3]}.avi").unlink()
    catalog = load(videos, write(tmp_path / "it.pkl"))
    assert dict(catalog.missing) == {NAMES[3]: "test"}


def test_names_may_be_paths(tmp_path, videos):
    names = [f"{name.split('_')[1]}/{name}" for name in NAMES]
    path = write(tmp_path / "it.pkl", {"train": names[:2], "val": names[2:]}, names=names)
    assert load(videos, path).clips_per_split == {"train": 2, "val": 2}


def test_several_labels(tmp_path, videos):
    path = write(tmp_path / "it.pkl", labels=([3, 1], [1], [0], [2]))
    catalog = load(videos, path)
    assert catalog.label_kind == "multi"
    assert catalog.clips[0].labels == {1: "1", 3: "3"}


@pytest.mark.parametrize(
    "splits, labels, message",
    [
        ({"xsub_train": [NAMES[0]], "xview_train": [NAMES[1]]}, (0, 0, 0, 0), "one split 'train'"),
        ({"train3": [NAMES[0]]}, (0, 0, 0, 0), "must have the split 1"),
        ({"all": [NAMES[0]]}, (0, 0, 0, 0), "such as train1"),
        ({"train": 5}, (0, 0, 0, 0), "such as train1"),
        (SPLITS, (0, -1, 0, 0), "whole number from 0"),
        (SPLITS, (0, None, 0, 0), "whole number from 0"),
        ([], (0, 0, 0, 0), "has `split`"),
    ],
)
def test_refusals(tmp_path, videos, splits, labels, message):
    with pytest.raises(InputError, match=message):
        load(videos, write(tmp_path / "it.pkl", splits, labels))


def test_nothing_in_it_is_run(tmp_path, videos):
    class Runs:
        def __reduce__(self):
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    (tmp_path / "it.pkl").write_bytes(pickle.dumps({"split": Runs(), "annotations": []}))
    with pytest.raises(InputError):
        load(videos, tmp_path / "it.pkl")
    assert not (tmp_path / "ran").exists()
