"""Each layout of a folder of one's videos that was met, with its outcome: read, or a question."""

import unicodedata

import pytest
from named_files import load, make

from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.datasets.split_names import name_splits
from perfnet_tf.errors import InputError


def splits_of(catalog):
    return {clip.clip_id: clip.split for clip in catalog.clips}


def refuses(videos, message):
    with pytest.raises(InputError, match=message):
        load(videos)


class TestWithoutLabels:
    def test_any_depth_is_taken(self, tmp_path):
        make(tmp_path, "a.mp4", "2024/May/b.mp4", "2024/notes.txt")
        catalog = load_catalog("unlabelled", videos=tmp_path)
        assert [clip.clip_id for clip in catalog.clips] == ["2024/May/b", "a"]
        assert catalog.clips_per_split == {"train": 2}
        assert catalog.left_out == {".txt": 1}
        assert "--unlabelled of perfnet distill and fit-classifier" in catalog.notes[0]

    def test_lists_are_refused(self, tmp_path):
        make(tmp_path, "a.mp4")
        with pytest.raises(InputError, match="have no lists"):
            load_catalog("unlabelled", videos=tmp_path, splits=tmp_path)


class TestSplitFolders:
    @pytest.mark.parametrize(
        ("folder", "split"),
        [
            ("Test", "test"),
            ("TESTING", "test"),
            ("val", "val"),
            ("Valid", "val"),
            ("validation", "val"),
            ("dev", "val"),
            ("Eval", "test"),
        ],
    )
    @pytest.mark.parametrize("train", ["train", "Train", "training"])
    def test_in_any_case_and_by_any_usual_name(self, tmp_path, train, folder, split):
        make(tmp_path, f"{train}/wave/a.mp4", f"{train}/jump/b.mp4", f"{folder}/wave/c.mp4")
        catalog = load(tmp_path)
        assert catalog.classes == ("jump", "wave")
        assert splits_of(catalog)[f"{folder}/wave/c"] == split
        assert splits_of(catalog)[f"{train}/wave/a"] == "train"

    def test_eval_is_the_validation_next_to_a_test(self):
        assert name_splits(["train", "eval", "Test", "wave"]) == {
            "train": "train",
            "eval": "val",
            "Test": "test",
        }

    def test_without_a_training_split(self, tmp_path):
        catalog = load(make(tmp_path, "val/wave/a.mp4", "test/jump/b.mp4"))
        assert splits_of(catalog) == {"val/wave/a": "val", "test/jump/b": "test"}
        assert catalog.notes == ("Without a video to train on: jump, wave.",)

    def test_with_nothing_but_a_training_split(self, tmp_path):
        catalog = load(make(tmp_path, "train/wave/a.mp4", "train/jump/b.mp4"))
        assert catalog.notes == ("All videos are in the split train: there is none to test on.",)

    def test_next_to_other_folders(self, tmp_path):
        make(tmp_path, "train/wave/a.mp4", "Test/wave/b.mp4", "jump/c.mp4", "run/d.mp4")
        refuses(tmp_path, "all splits, or all classes.*Test, train next to jump, run.*splits.csv")

    def test_without_class_folders(self, tmp_path):
        make(tmp_path, "train/a.mp4", "test/b.mp4")
        refuses(tmp_path, "SPLIT/CLASS/FILE.*2 do not, the first being test/a?b?.mp4")

    def test_with_classes_that_differ_in_case(self, tmp_path):
        make(tmp_path, "train/Wave/a.mp4", "train/jump/b.mp4", "test/wave/c.mp4")
        refuses(tmp_path, "'Wave' and 'wave'.*one name")

    def test_with_an_empty_class(self, tmp_path):
        make(tmp_path, "train/wave/a.mp4", "train/jump/b.mp4", "test/jump/c.mp4")
        (tmp_path / "test" / "wave").mkdir()
        assert load(tmp_path).notes == ("No video, so no class: test/wave.",)


class TestDepth:
    def test_a_folder_around_the_classes(self, tmp_path):
        make(tmp_path, "UCF-101/wave/a.mp4", "UCF-101/jump/b.mp4")
        refuses(tmp_path, f"Which folder is the class.*jump, wave, give {tmp_path}/UCF-101 as")

    def test_a_folder_around_the_splits(self, tmp_path):
        make(tmp_path, "data/v1/train/wave/a.mp4", "data/v1/test/jump/b.mp4")
        refuses(tmp_path, f"classes or splits are test, train, give {tmp_path}/data/v1 as")

    def test_folders_within_the_classes(self, tmp_path):
        make(tmp_path, "wave/day1/a.mp4", "wave/day2/b.mp4", "jump/c.mp4")
        refuses(tmp_path, "2 of 3 are deeper, the first being wave/day1.*If it is wave.*day1.*up")

    def test_folders_within_the_classes_of_splits(self, tmp_path):
        make(tmp_path, "train/wave/day1/a.mp4", "train/jump/b.mp4", "test/jump/c.mp4")
        refuses(tmp_path, "expected as SPLIT/CLASS/FILE.*1 of 3.*If it is wave.*if it is day1")

    def test_the_folder_of_a_class(self, tmp_path):
        make(tmp_path / "wave", "a.mp4", "b.mp4")
        refuses(tmp_path / "wave", f"If wave is itself the folder of a class, give {tmp_path}")

    def test_splits_within_the_classes(self, tmp_path):
        make(tmp_path, "wave/train/a.mp4", "wave/test/b.mp4", "jump/Train/c.mp4")
        refuses(tmp_path, "If Train is a split, put the splits above.*Train/jump/c.mp4")

    def test_a_list_answers_the_question(self, tmp_path):
        make(tmp_path, "wave/day1/a.mp4", "jump/day1/b.mp4")
        (tmp_path / "splits.csv").write_text(
            "path,label,split\nwave/day1/a.mp4,wave,train\njump/day1/b.mp4,jump,test\n"
        )
        assert load(tmp_path).classes == ("jump", "wave")


class TestClasses:
    def test_a_single_one_is_a_question(self, tmp_path):
        make(tmp_path, "wave/a.mp4", "wave/b.mp4")
        refuses(
            tmp_path, "What are the classes.*at least two.*all 2 videos are of the class 'wave'"
        )

    def test_a_single_one_in_split_folders(self, tmp_path):
        refuses(make(tmp_path, "train/wave/a.mp4", "test/wave/b.mp4"), "What are the classes")

    def test_names_in_two_unicode_forms(self, tmp_path):
        forms = [unicodedata.normalize(form, "Café") for form in ("NFC", "NFD")]
        refuses(make(tmp_path, *(f"{form}/a.mp4" for form in forms)), "Unicode form")

    def test_names_that_differ_in_a_blank_at_the_end(self, tmp_path):
        refuses(make(tmp_path, "wave/a.mp4", "wave /b.mp4"), "'wave' and 'wave '")

    def test_numbers_are_noted_to_be_sorted_as_text(self, tmp_path):
        make(tmp_path, *(f"{number}/{name}.mp4" for number in (1, 2, 10) for name in "ab"))
        catalog = load(tmp_path)
        assert catalog.classes == ("1", "10", "2")
        assert any("sorted as text: 1, 10, 2 are labels 0, 1, 2" in note for note in catalog.notes)
        make(tmp_path / "few", *(f"{number}/{name}.mp4" for number in (1, 2) for name in "ab"))
        assert not any("sorted" in note for note in load(tmp_path / "few").notes)

    def test_empty_folders_are_noted(self, tmp_path):
        make(tmp_path, "wave/a.mp4", "jump/b.mp4", "run/c.txt")
        catalog = load(tmp_path)
        assert "No video, so no class: run." in catalog.notes
        assert catalog.left_out == {".txt": 1}


class TestSplitLists:
    def write(self, folder, *lines, header="path,split"):
        make(folder, "wave/a.mp4", "wave/b.mp4", "jump/c.mp4")
        (folder / "splits.csv").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return folder

    def test_backslashes(self, tmp_path):
        self.write(tmp_path, r"wave\a.mp4,train", r".\jump\c.mp4,test")
        assert splits_of(load(tmp_path)) == {"wave/a": "train", "jump/c": "test"}

    def test_absolute_paths(self, tmp_path):
        self.write(tmp_path / "videos", f"{tmp_path}/videos/wave/a.mp4,train", "jump/c.mp4,test")
        assert splits_of(load(tmp_path / "videos")) == {"wave/a": "train", "jump/c": "test"}
        (tmp_path / "link").symlink_to(tmp_path / "videos")
        assert splits_of(load(tmp_path / "link")) == {"wave/a": "train", "jump/c": "test"}

    @pytest.mark.parametrize(
        "path", ["/data/videos/wave/a.mp4", r"D:\videos\wave\a.mp4", "videos/wave/a.mp4"]
    )
    def test_paths_of_another_place_are_refused_with_what_is_there(self, tmp_path, path):
        self.write(tmp_path, f"{path},train", "jump/c.mp4,test")
        refuses(tmp_path, "lacks 1 of 2.*in which wave/a.mp4 is: take what is before")

    def test_a_clip_with_two_labels(self, tmp_path):
        lines = ("wave/a.mp4,wave,train", "jump/c.mp4,jump,test", "wave/a.mp4,jump,train")
        self.write(tmp_path, *lines, header="path,label,split")
        refuses(tmp_path, "one class.*wave/a.mp4 as 'wave' .*line 2. and as 'jump' .*line 4")

    def test_a_line_that_repeats_another_counts_once(self, tmp_path):
        self.write(tmp_path, "wave/a.mp4,train", "jump/c.mp4,test", "wave/a.mp4,Train")
        catalog = load(tmp_path)
        assert len(catalog.clips) == 2
        assert "1 lines of splits.csv repeat another." in catalog.notes

    def test_videos_in_no_line_are_counted(self, tmp_path):
        (note,) = load(self.write(tmp_path, "wave/a.mp4,train", "jump/c.mp4,train")).notes[:1]
        assert note.startswith("1 video of") and note.endswith("the first being wave/b.mp4.")

    def test_a_byte_order_mark_semicolons_and_capitals(self, tmp_path):
        self.write(tmp_path, "wave/a.mp4;Train", "jump/c.mp4;EVAL", header="\ufeffPath;Split")
        assert splits_of(load(tmp_path)) == {"wave/a": "train", "jump/c": "test"}

    def test_names_in_another_unicode_form_or_case(self, tmp_path):
        disk, listed = (unicodedata.normalize(form, "wave/Zoë.mp4") for form in ("NFD", "NFC"))
        make(tmp_path, disk)
        self.write(tmp_path, f"{listed},train", "Jump/C.MP4,test")
        catalog = load(tmp_path)
        assert catalog.classes == ("jump", "wave")
        assert [clip.path for clip in catalog.clips] == [
            str(tmp_path / "jump/c.mp4"),
            str(tmp_path / disk),
        ]

    def test_another_ending_or_none(self, tmp_path):
        self.write(tmp_path, "wave/a.avi,train", "jump/c,test", "wave/b.mp4,train")
        assert splits_of(load(tmp_path)) == {"wave/a": "train", "wave/b": "train", "jump/c": "test"}
        make(tmp_path, "wave/a.mkv")
        refuses(tmp_path, "lacks 1 of 3, the first being wave/a.avi")  # which one is not guessed

    def test_empty_columns_and_lines_of_spreadsheets(self, tmp_path):
        lines = ("wave/a.mp4,train,,", ",,,", "", "jump/c.mp4,test,,")
        self.write(tmp_path, *lines, header="path,split,,")
        assert splits_of(load(tmp_path)) == {"wave/a": "train", "jump/c": "test"}

    def test_the_name_of_the_list_in_another_case(self, tmp_path):
        self.write(tmp_path, "wave/a.mp4,train", "jump/c.mp4,test")
        (tmp_path / "splits.csv").rename(tmp_path / "Splits.CSV")
        assert len(load(tmp_path).clips) == 2

    def test_a_single_class(self, tmp_path):
        refuses(self.write(tmp_path, "wave/a.mp4,train", "wave/b.mp4,test"), "What are the classes")


def test_two_videos_with_one_id_say_what_to_do(tmp_path):
    refuses(
        make(tmp_path, "wave/a.mp4", "wave/a.avi", "jump/b.avi"), "Remove or rename all but one"
    )
