import pytest

from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.datasets.official_counts import OFFICIAL_COUNTS
from perfnet_tf.errors import InputError

TRAIN = "Lunges/v_Lunges_g08_c01.avi 2\r\nArchery/v_Archery_g09_c02.avi 1\r\n"
TEST = "Archery/v_Archery_g01_c01.avi\r\nLunges/v_Lunges_g01_c03.avi\r\n"
FILES = [
    "Lunges/v_Lunges_g08_c01.avi",
    "Archery/v_Archery_g09_c02.avi",
    "Archery/v_Archery_g01_c01.avi",
    "Lunges/v_Lunges_g01_c03.avi",
]


def make_dataset(folder, *, files=FILES, train=TRAIN, test=TEST, classes=None, lists="."):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    (folder / lists).mkdir(exist_ok=True)
    classes = "1 Archery\r\n2 Lunges\r\n" if classes is None else classes
    (folder / lists / "classInd.txt").write_text(classes)
    (folder / lists / "trainlist01.txt").write_text(train)
    (folder / lists / "testlist01.txt").write_text(test)
    return folder


def load(videos, **arguments):
    return load_catalog("ucf101", videos=videos, **arguments)


@pytest.mark.parametrize("lists", [".", "ucfTrainTestlist"])
def test_reads_classes_labels_splits_and_groups(tmp_path, lists):
    catalog = load(make_dataset(tmp_path, lists=lists))
    assert catalog.classes == ("Archery", "Lunges")
    first, *_, last = catalog.clips
    assert first.clip_id == "Lunges/v_Lunges_g08_c01"
    assert first.path == str(tmp_path / "Lunges/v_Lunges_g08_c01.avi")
    assert (first.label, first.label_name, first.split) == (1, "Lunges", "train")
    assert first.group == "Lunges/g08"
    assert (last.clip_id, last.label, last.split) == ("Lunges/v_Lunges_g01_c03", 1, "test")
    assert [clip.label for clip in catalog.clips] == [1, 0, 0, 1]
    assert (catalog.missing, catalog.notes) == ({}, ())


def test_flat_folder_and_lists_elsewhere(tmp_path):
    flat = [file.split("/")[1] for file in FILES]
    make_dataset(tmp_path, files=[f"videos/{file}" for file in flat], lists="lists")
    catalog = load(tmp_path / "videos", splits=tmp_path / "lists")
    assert catalog.clips_per_split == {"train": 2, "test": 2}
    assert catalog.clips[0].path == str(tmp_path / "videos" / flat[0])
    assert catalog.clips[0].clip_id == "Lunges/v_Lunges_g08_c01"


def test_classes_without_clips_keep_their_label(tmp_path):
    classes = "1 Archery\n3 Lunges\n2 Drumming\n"
    make_dataset(tmp_path, classes=classes, train="Lunges/v_Lunges_g08_c01.avi 3\n")
    catalog = load(tmp_path)
    assert catalog.classes == ("Archery", "Drumming", "Lunges")
    assert {clip.label for clip in catalog.clips} == {0, 2}


def test_synthetic_dataset_is_given_by_its_folder(tmp_path):
    files = [f"videos/{file}".replace(".avi", ".mp4") for file in FILES]
    make_dataset(
        tmp_path,
        files=files,
        lists="splits",
        train=TRAIN.replace("avi", "mp4"),
        test=TEST.replace("avi", "mp4"),
    )
    catalog = load_catalog("synthetic", videos=tmp_path)
    assert catalog.name == "synthetic"
    assert catalog.clips_per_split == {"train": 2, "test": 2}


@pytest.mark.parametrize("folder", ["HandstandPushups", "HandStandPushups", "."])
@pytest.mark.parametrize("disk", ["v_HandstandPushups_g01_c01", "v_HandStandPushups_g01_c01"])
def test_handstand_pushups_are_found_however_a_copy_writes_them(tmp_path, folder, disk):
    """The official lists have two spellings, and copies of the videos differ."""
    listed = "HandstandPushups/v_HandStandPushups_g01_c01.avi 1\n"
    make_dataset(
        tmp_path,
        files=[f"{folder}/{disk}.avi", FILES[3]],
        classes="1 HandstandPushups\n2 Lunges\n",
        train=listed,
        test="Lunges/v_Lunges_g01_c03.avi\n",
    )
    clip = load(tmp_path).clips[0]
    assert clip.path == str(tmp_path / folder / f"{disk}.avi")
    assert clip.clip_id == "HandstandPushups/v_HandStandPushups_g01_c01"
    assert (clip.label_name, clip.group) == ("HandstandPushups", "HandstandPushups/g01")
    (tmp_path / "trainlist01.txt").write_text(listed.replace("HandstandP", "HandStandP"))
    assert load(tmp_path).clips[0] == clip


def test_a_file_of_the_exact_name_is_preferred_to_one_of_another_case(tmp_path):
    make_dataset(tmp_path, files=[*FILES, "Lunges/v_lunges_g08_c01.avi"])
    catalog = load(tmp_path)
    assert catalog.clips[0].path == str(tmp_path / FILES[0])
    (note,) = catalog.notes
    assert "1 video of" in note and "in no list" in note and "Lunges/v_lunges_g08_c01.avi" in note


def test_lists_written_on_windows(tmp_path):
    make_dataset(tmp_path, train=TRAIN.replace("/", "\\"), test=TEST.replace("/", "\\"))
    assert load(tmp_path).clips_per_split == {"train": 2, "test": 2}


class TestErrors:
    def test_absent_files_are_counted_and_the_first_is_named(self, tmp_path):
        make_dataset(tmp_path, files=FILES[:2])
        with pytest.raises(InputError, match=r"lacks 2 of 4.*Archery/v_Archery_g01_c01\.avi"):
            load(tmp_path)

    def test_missing_lists(self, tmp_path):
        (tmp_path / "x.avi").touch()
        with pytest.raises(InputError, match="classInd.txt.*ucfTrainTestlist.*`splits`"):
            load(tmp_path)

    def test_split_without_lists(self, tmp_path):
        make_dataset(tmp_path)
        with pytest.raises(InputError, match="Received: 2.*trainlist02.txt.*trainlist01.txt"):
            load(tmp_path, split=2)

    @pytest.mark.parametrize(
        ("lists", "message"),
        [
            ({"train": "Surfing/v_Surfing_g01_c01.avi 3\n"}, "'Surfing'.*trainlist01.txt, line 1"),
            ({"train": TRAIN.replace(" 2", " 1")}, "Lunges has the number 2.*Received: 1.*line 1"),
            ({"train": "v_Lunges_g08_c01.avi 2\n"}, "CLASS/FILE"),
            ({"test": TEST + TRAIN}, "listed once.*v_Lunges_g08_c01"),
            ({"classes": "Archery\nLunges\n"}, "NUMBER NAME.*'Archery'.*line 1"),
            ({"classes": "0 Archery\n1 Lunges\n"}, "from 1 on.*numbered 0 to 1"),
            ({"classes": "1 Archery\n2 Lunges\n2 Punch\n"}, "the number 2 twice"),
            ({"classes": "1 Archery\n2 Archery\n"}, "different classes"),
            ({"classes": ""}, "'Lunges'"),
        ],
    )
    def test_malformed_lists_say_where(self, tmp_path, lists, message):
        make_dataset(tmp_path, **lists)
        with pytest.raises(InputError, match=message):
            load(tmp_path)


@pytest.mark.data
def test_official_lists_give_the_official_counts(real_data, tmp_path):
    lists = real_data / "splits" / "ucf101"
    listed = [
        line.split()[0]
        for name in ("trainlist01.txt", "testlist01.txt")
        for line in (lists / name).read_text().splitlines()
    ]
    assert len(listed) == 13320
    for file in listed:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    for split, counts in OFFICIAL_COUNTS["ucf101"].items():
        catalog = load(tmp_path, splits=lists, split=split)
        assert catalog.clips_per_split == counts
        assert len(catalog.classes) == 101
        assert catalog.notes == ()
        groups = {
            name: {clip.group for clip in catalog.clips if clip.split == name}
            for name in ("train", "test")
        }
        assert len(groups["train"] | groups["test"]) == 101 * 25
        assert not groups["train"] & groups["test"]
    labels = (real_data / "splits" / "labels" / "label_map_ucf101.txt").read_text().split()
    assert list(catalog.classes) == labels


@pytest.mark.data
def test_shortened_lists_of_all_classes_are_noted(real_data, tmp_path):
    lists = real_data / "splits" / "ucf101"
    (tmp_path / "classInd.txt").write_text((lists / "classInd.txt").read_text())
    (tmp_path / "trainlist01.txt").write_text("Lunges/v_Lunges_g08_c01.avi 52\n")
    (tmp_path / "testlist01.txt").write_text("Lunges/v_Lunges_g01_c01.avi\n")
    for group in ("08", "01"):
        (tmp_path / f"v_Lunges_g{group}_c01.avi").touch()
    (note,) = load(tmp_path).notes
    assert "1 training and 1 test clips" in note and "9537 + 3783 (split 1)" in note
    assert "9537 + 3783" in note


@pytest.mark.data
def test_eight_real_classes(real_data):
    catalog = load(real_data / "videos" / "ucf101_8class")
    assert len(catalog.classes) == 8
    assert catalog.clips_per_split == {"train": 229, "test": 86}
    assert catalog.notes == ()
