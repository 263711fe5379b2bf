import csv

import pytest

from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.datasets.kinetics import read_published_classes
from perfnet_tf.errors import InputError

HEADER = "label,youtube_id,time_start,time_end,split"
TRAIN = [
    "riding a bike,aaaaaaaaaaa,3,13,train",
    "abseiling,-bbbbbbbbbb,120,130,train",
    "abseiling,ccccccccccc,0,10,train",
]
VAL = ["abseiling,ddddddddddd,5,15,validate"]


def write_lists(folder, train=TRAIN, val=VAL, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / "kinetics-600_train.csv").write_text("\n".join([header, *train]) + "\n")
    (folder / "kinetics-600_val.csv").write_text("\n".join([HEADER, *val]) + "\n")
    return folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


NAMES = ["aaaaaaaaaaa_000003_000013", "-bbbbbbbbbb_000120_000130", "ddddddddddd_000005_000015"]


@pytest.mark.parametrize(
    "paths",
    [
        [f"riding a bike/{NAMES[0]}.mp4", f"abseiling/{NAMES[1]}.mp4", f"abseiling/{NAMES[2]}.mp4"],
        [f"riding_a_bike/{NAMES[0]}.mp4", f"abseiling/{NAMES[1]}.mkv", f"abseiling/{NAMES[2]}.mp4"],
        [f"{NAMES[0]}.mp4", f"{NAMES[1]}.webm", f"{NAMES[2]}.mp4"],
        [f"train/{NAMES[0]}.mp4", f"train/{NAMES[1]}.mp4", f"val/{NAMES[2]}.mp4"],
        [
            f"train/riding a bike/{NAMES[0]}.mp4",
            f"train/abseiling/{NAMES[1]}.mp4",
            f"val/abseiling/{NAMES[2]}.mp4",
        ],
        ["aaaaaaaaaaa.mp4", "-bbbbbbbbbb.mp4", "ddddddddddd.mp4"],
        # As crawlers and copies name them.
        ["train/aaaaaaaaaaa_3_13.mp4", "train/-bbbbbbbbbb_120_130.mp4", "val/ddddddddddd_5_15.mp4"],
        [f"{NAMES[0]}.mp4.mkv", f"{NAMES[1]}.mp4.webm", f"{NAMES[2]}.MP4"],
        [
            f"train/ridingabike/{NAMES[0]}.mp4",
            f"train/Abseiling/{NAMES[1]}.mp4",
            f"val/abseiling/{NAMES[2]}.mp4",
        ],
    ],
)
def test_finds_clips_in_every_usual_layout_and_counts_the_missing(tmp_path, paths):
    videos = touch(tmp_path / "videos", *paths)
    lists = write_lists(tmp_path / "lists")
    catalog = load_catalog("kinetics600", videos=videos, splits=lists)
    assert catalog.classes == ("abseiling", "riding a bike")
    assert [clip.path for clip in catalog.clips] == [str(videos / path) for path in paths]
    assert [clip.clip_id for clip in catalog.clips] == [
        f"riding a bike/{NAMES[0]}",
        f"abseiling/{NAMES[1]}",
        f"abseiling/{NAMES[2]}",
    ]
    assert [(clip.label, clip.split) for clip in catalog.clips] == [
        (1, "train"),
        (0, "train"),
        (0, "val"),
    ]
    assert catalog.clips[1].group == "-bbbbbbbbbb"
    assert catalog.missing == {"abseiling/ccccccccccc_000000_000010": "train"}
    (note,) = catalog.notes
    assert note.startswith("1 of 4 listed clips are not there (train 1 of 3, val 0 of 1)")


def test_id_listed_under_two_labels_is_looked_up_in_its_class(tmp_path):
    train = ["abseiling,aaaaaaaaaaa,3,13,train", "running,aaaaaaaaaaa,3,13,train"]
    videos = touch(tmp_path, f"running/{NAMES[0]}.mp4", f"abseiling/{NAMES[0]}.mp4")
    catalog = load_catalog("kinetics600", videos=videos, splits=write_lists(tmp_path, train))
    assert [clip.path.split("/")[-2] for clip in catalog.clips] == ["abseiling", "running"]


def test_one_file_of_lists_in_any_folder(tmp_path):
    videos = touch(tmp_path / "videos", f"{NAMES[2]}.mp4")
    lists = write_lists(tmp_path / "lists")
    catalog = load_catalog("kinetics700", videos=videos, splits=lists / "kinetics-600_val.csv")
    assert catalog.clips_per_split == {"val": 1}


def test_lists_of_other_editions_and_without_labels_are_left_out(tmp_path):
    touch(tmp_path, f"{NAMES[0]}.mp4")
    write_lists(tmp_path)
    (tmp_path / "kinetics-400_val.csv").write_text("nonsense\n")
    (tmp_path / "kinetics-600_test.csv").write_text(
        "youtube_id,time_start,time_end,split\nLAcSOxdNrmI,61,71,test\n"
    )
    catalog = load_catalog("kinetics600", videos=tmp_path)
    assert len(catalog.clips) == 1
    assert "kinetics-600_test.csv has no labels and was left out." in catalog.notes


class TestCopiesOfCvdf:
    """The folder that the downloaders of cvdfoundation/kinetics-dataset make."""

    def make(self, folder, texts, *files):
        (folder / "annotations").mkdir(parents=True)
        for name, text in texts.items():
            (folder / "annotations" / name).write_text(text)
        return touch(folder, *files)

    def test_complete_text_lists_are_read_next_to_incomplete_tables(self, tmp_path):
        texts = {
            "train.csv": f"{HEADER}\n{TRAIN[1]}\n",
            "train.txt": "\n".join([HEADER, *TRAIN]) + "\n",
            "val.txt": "abseiling,ddddddddddd,5,15\n",
            "test.csv": "youtube_id,time_start,time_end,split\nLAcSOxdNrmI,61,71,test\n",
            "kinetics600_holdout_test.csv": "url\nhttps://example.org\n",
        }
        files = [f"train/{NAMES[0]}.mp4", f"train/{NAMES[1]}.mp4", f"val/{NAMES[2]}.mp4"]
        catalog = load_catalog("kinetics600", videos=self.make(tmp_path, texts, *files))
        assert catalog.clips_per_split == {"train": 2, "val": 1}
        assert catalog.missing == {"abseiling/ccccccccccc_000000_000010": "train"}
        assert {note.split(" has ")[0] for note in catalog.notes[:2]} == {
            "kinetics600_holdout_test.csv",
            "test.csv",
        }
        assert "train.txt has 2 clips that no CSV file has." in catalog.notes
        assert "val.txt has 1 clips that no CSV file has." in catalog.notes

    @pytest.mark.parametrize(
        "line",
        [
            f"abseiling/{NAMES[2]}.mp4",
            f"val/abseiling/{NAMES[2]}.mp4 0",
            f"D:\\k600\\abseiling\\{NAMES[2]}.mp4",
            "abseiling\tddddddddddd\t5.0\t15.0\tvalidate",
        ],
    )
    def test_text_lists_alone_in_each_form(self, tmp_path, line):
        videos = self.make(tmp_path, {"val.txt": line + "\n"}, f"val/{NAMES[2]}.mp4")
        (clip,) = load_catalog("kinetics600", videos=videos).clips
        assert (clip.clip_id, clip.split) == (f"abseiling/{NAMES[2]}", "val")

    def test_a_text_list_of_another_name_is_given_by_its_path(self, tmp_path):
        text = "youtube_id,label,time_start,time_end\nddddddddddd,abseiling,5,15\n"
        videos = self.make(tmp_path, {"k600_validate_all.txt": text}, f"val/{NAMES[2]}.mp4")
        lists = tmp_path / "annotations" / "k600_validate_all.txt"
        assert load_catalog("kinetics600", videos=videos, splits=lists).clips_per_split == {
            "val": 1
        }

    @pytest.mark.parametrize("text", [f"{NAMES[2]}.mp4\n", f"val/{NAMES[2]}.mp4 0\n", "v1 2 3\n"])
    def test_text_lists_without_labels_are_noted_next_to_tables_and_refused_alone(
        self, tmp_path, text
    ):
        videos = self.make(tmp_path, {"val.txt": text}, f"val/{NAMES[2]}.mp4")
        with pytest.raises(InputError, match="needs a list with labels.*val.txt is no list of lab"):
            load_catalog("kinetics600", videos=videos)
        (tmp_path / "annotations" / "val.csv").write_text(f"{HEADER}\n{VAL[0]}\n")
        notes = load_catalog("kinetics600", videos=videos).notes
        assert notes == ("val.txt is no list of labelled clips and was left out.",)

    def test_a_malformed_line_of_a_text_list_says_where(self, tmp_path):
        text = "abseiling,ddddddddddd,5,15\nabseiling,ddddddddddd,soon,15\n"
        videos = self.make(tmp_path, {"val.txt": text}, f"val/{NAMES[2]}.mp4")
        with pytest.raises(InputError, match="text list.*soon.*line 2"):
            load_catalog("kinetics600", videos=videos)

    def test_videos_in_no_list_are_counted(self, tmp_path):
        files = [f"val/{NAMES[2]}.mp4", "val/eeeeeeeeeee_000001_000011.mp4", "val/f.mp4"]
        videos = self.make(tmp_path, {"val.csv": f"{HEADER}\n{VAL[0]}\n"}, *files)
        (note,) = load_catalog("kinetics600", videos=videos).notes
        assert note.startswith("2 videos of") and "val/eeeeeeeeeee_000001_000011.mp4" in note

    def test_replacements_of_broken_files_are_preferred(self, tmp_path):
        replacement = f"replacement/replacement_for_corrupted_k400/{NAMES[2]}.mp4"
        files = [f"val/abseiling/{NAMES[2]}.mp4", replacement]
        videos = self.make(tmp_path, {"val.csv": f"{HEADER}\n{VAL[0]}\n"}, *files)
        catalog = load_catalog("kinetics400", videos=videos)
        assert catalog.clips[0].path == str(videos / replacement) and catalog.notes == ()

    def test_ids_that_differ_in_case_are_different_videos(self, tmp_path):
        rows = "abseiling,ddddddddddd,5,15,val\nabseiling,dddddddddDD,5,15,val\n"
        videos = self.make(tmp_path, {"val.csv": f"{HEADER}\n{rows}"}, f"val/{NAMES[2]}.mp4")
        catalog = load_catalog("kinetics600", videos=videos)
        assert [clip.group for clip in catalog.clips] == ["ddddddddddd"]
        assert list(catalog.missing) == ["abseiling/dddddddddDD_000005_000015"]

    def test_brackets_and_apostrophes_are_missing_from_class_folders(self, tmp_path):
        rows = (
            "massaging person's head,aaaaaaaaaaa,3,13,val\nbackflip (human),aaaaaaaaaaa,3,13,val\n"
        )
        files = [f"massaging_persons_head/{NAMES[0]}.mp4", f"backflip_human/{NAMES[0]}.mp4"]
        videos = self.make(tmp_path, {"val.csv": f"{HEADER}\n{rows}"}, *files)
        catalog = load_catalog("kinetics700", videos=videos)
        assert [clip.path for clip in catalog.clips] == [str(videos / file) for file in files]


def test_repeated_lines_count_once(tmp_path):
    touch(tmp_path, f"{NAMES[0]}.mp4")
    write_lists(tmp_path, [TRAIN[0], TRAIN[0]], [])
    catalog = load_catalog("kinetics600", videos=tmp_path)
    assert len(catalog.clips) == 1
    assert catalog.notes == ("1 lines repeat another and were left out.",)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"header": "label,youtube_id,start,end,split"}, "lacks time_start, time_end"),
        ({"train": ["abseiling,aaaaaaaaaaa,soon,13,train"]}, "seconds.*'soon'.*line 2"),
        ({"train": ["abseiling,aaaaaaaaaaa,3,13,learn"]}, "split.*line 2.*'learn'"),
        ({"train": [",aaaaaaaaaaa,3,13,train"]}, "needs a label.*line 2"),
        ({"train": [TRAIN[0], TRAIN[0].replace("train", "val")]}, "one split.*aaaaaaaaaaa"),
        ({"train": [TRAIN[2]], "val": []}, r"No listed clip is there.*ccccccccccc_000000_000010"),
    ],
)
def test_malformed_lists_say_where(tmp_path, lists, message):
    touch(tmp_path, f"{NAMES[0]}.mp4")
    write_lists(tmp_path, **lists)
    with pytest.raises(InputError, match=message):
        load_catalog("kinetics600", videos=tmp_path)


def test_missing_lists(tmp_path):
    touch(tmp_path, f"{NAMES[0]}.mp4")
    with pytest.raises(InputError, match=r"kinetics600 needs its official split lists \(\*.csv\)"):
        load_catalog("kinetics600", videos=tmp_path)
    (tmp_path / "kinetics-400_val.csv").write_text(HEADER + "\n")
    with pytest.raises(InputError, match="other editions"):
        load_catalog("kinetics600", videos=tmp_path)


@pytest.mark.parametrize("edition", [400, 600, 700])
def test_published_classes_are_in_alphabetical_order(edition):
    classes = read_published_classes(f"kinetics{edition}")
    assert len(set(classes)) == edition
    assert list(classes) == sorted(classes)
    with pytest.raises(InputError, match="kinetics400, kinetics600, kinetics700"):
        read_published_classes("kinetics500")


@pytest.mark.data
@pytest.mark.parametrize("edition", [400, 600, 700])
def test_published_classes_are_the_official_ones(real_data, edition):
    labels = real_data / "splits" / "labels" / f"label_map_k{edition}.txt"
    expected = tuple(labels.read_text().splitlines())
    assert read_published_classes(f"kinetics{edition}") == expected


@pytest.mark.data
def test_official_lists(real_data, tmp_path):
    lists = real_data / "splits" / "kinetics"
    with open(lists / "kinetics-600_val.csv") as file:
        rows = list(csv.DictReader(file))
    there = rows[::100]
    for row in there:
        start, end = int(row["time_start"]), int(row["time_end"])
        touch(tmp_path, f"{row['label']}/{row['youtube_id']}_{start:06}_{end:06}.mp4")
    catalog = load_catalog("kinetics600", videos=tmp_path, splits=lists)
    assert len(catalog.clips) == len(there) == 300
    assert len(catalog.missing) == len(rows) - len(there) == 29700
    assert catalog.clips_per_split == {"val": 300}
    labels = (real_data / "splits" / "labels" / "label_map_k600.txt").read_text().splitlines()
    assert list(catalog.classes) == labels
    assert [clip.label_name for clip in catalog.clips] == [row["label"] for row in there]
