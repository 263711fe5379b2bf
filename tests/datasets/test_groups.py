import collections

import pytest

from perfnet_tf.datasets.groups import draw_folds, group_of, write_validation_subset
from perfnet_tf.errors import InputError
from perfnet_tf.records.folder import read_index
from perfnet_tf.records.schema import IndexEntry


def entry(clip_id, label=0, group=None):
    return IndexEntry(clip_id, label, 10, 0, 12, 100, group)


@pytest.mark.parametrize(
    ("dataset", "clip_id", "group"),
    [
        ("ucf101", "Lunges/v_Lunges_g08_c01", "Lunges/g08"),
        ("ucf101-split2", "Lunges/v_Lunges_g08_c01", "Lunges/g08"),
        ("hmdb51", "run/April_09_run_u_nm_np1_ba_goo_0", "run/April_09"),
        ("kinetics600", "abseiling/yq_M1PMw2hY_000038_000048", "yq_M1PMw2hY"),
        ("folder", "wave/anna_02", "wave/anna"),
        ("folder", "train/wave/anna_02", "train/wave/anna"),
        ("folder", "wave/anna", "wave/anna"),
        ("else", "wave/anna_02", "wave/anna_02"),
    ],
)
def test_groups_follow_from_the_ids_where_the_index_is_silent(dataset, clip_id, group):
    assert group_of(entry(clip_id), dataset) == group
    assert group_of(entry(clip_id, group="stated"), dataset) == "stated"


def ucf_like(groups=18, clips=(4, 7, 5)):
    return [
        entry(f"Class{label}/v_Class{label}_g{group:02}_c{clip:02}", label)
        for label in range(3)
        for group in range(8, 8 + groups)
        for clip in range(clips[(group + label) % 3])
    ]


def test_folds_share_no_group_and_are_even_in_every_class():
    entries = ucf_like()
    folds = draw_folds(entries, "ucf101")
    by_id = {e.clip_id: e for e in entries}
    assert sorted(name for fold in folds for name in fold) == sorted(by_id)
    groups = [{group_of(by_id[name], "ucf101") for name in fold} for fold in folds]
    for one in range(4):
        for other in range(one):
            assert not groups[one] & groups[other]
    for fold in folds:
        counts = collections.Counter(by_id[name].label for name in fold)
        for label in range(3):
            share = counts[label] / sum(e.label == label for e in entries)
            assert 0.2 < share < 0.3


def test_folds_depend_on_the_ids_only():
    entries = ucf_like()
    assert {frozenset(f) for f in draw_folds(entries, "ucf101")} == {
        frozenset(f) for f in draw_folds(entries[::-1], "ucf101")
    }


def test_a_group_of_two_classes_is_not_torn_apart():
    entries = [
        entry(f"{name}/video{k}_000000_000010", label)
        for label, name in enumerate(("run", "walk"))
        for k in range(8)
    ]
    for fold in draw_folds(entries, "kinetics600"):
        stems = collections.Counter(name.split("/")[1] for name in fold)
        assert set(stems.values()) == {2}


def test_a_class_of_one_recording_is_divided_only_where_nothing_says_so():
    names = [entry(f"wave/take_{k}", 0) for k in range(8)]
    others = [entry(f"jump/{name}_1", 1) for name in "abcdefgh"]
    folds = draw_folds(names + others, "folder")
    assert all(sum(clip.startswith("wave") for clip in fold) == 2 for fold in folds)
    stated = [entry(e.clip_id, 0, group="anna") for e in names]
    assert not any(
        "wave" in clip for fold in draw_folds(stated + others, "folder") for clip in fold
    )


def test_the_only_clip_of_a_class_is_never_held_out():
    alone = [entry("folder/pancake", 7), entry("folder/wave", 8, group="wave")]
    folds = draw_folds([*ucf_like(), *alone], "folder")
    assert not {one.clip_id for one in alone} & {name for fold in folds for name in fold}
    with pytest.raises(InputError, match="Clips of 0 groups"):
        draw_folds(alone, "folder", 2)


def test_too_few_groups_are_refused():
    with pytest.raises(InputError, match="Clips of 3 groups cannot be divided into 4"):
        draw_folds([entry(f"a/{k}") for k in range(3)], "else")
    with pytest.raises(InputError, match=r"in \[0, 4\). Received: 4"):
        write_validation_subset("data", "out", 4)


@pytest.mark.data
def test_the_real_clips_divide_into_whole_groups(real_data):
    lists = real_data / "videos" / "ucf101_8class"
    names = [line.split()[0] for line in (lists / "trainlist01.txt").read_text().splitlines()]
    classes = sorted({name.split("/")[0] for name in names})
    entries = [entry(n.removesuffix(".avi"), classes.index(n.split("/")[0])) for n in names]
    folds = draw_folds(entries, "ucf101")
    assert sum(map(len, folds)) == 229 and max(map(len, folds)) - min(map(len, folds)) < 12
    groups = [{group_of(entry(name), "ucf101") for name in fold} for fold in folds]
    assert not groups[0] & (groups[1] | groups[2] | groups[3])


def test_a_validation_subset_goes_elsewhere_where_the_dataset_cannot_be_written_to():
    with pytest.raises(InputError, match="local and writable. Received: gs://bucket/data. Give"):
        write_validation_subset("gs://bucket/data")


def test_a_validation_subset_has_train_and_val_of_the_training_clips(tmp_path):
    from prepared_clips import write_tiny_dataset

    data = write_tiny_dataset(tmp_path / "data")
    counts = write_validation_subset(data, tmp_path / "out", 2)
    assert sum(counts.values()) == 15
    held = {e.clip_id for e in read_index(tmp_path / "out", "val")}
    assert {name.split("/")[0] for name in held} == {"class0", "class1", "class2"}
