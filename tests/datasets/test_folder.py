import pathlib

import pytest
from named_files import load, make

from perfnet_tf.datasets.folder import group_name
from perfnet_tf.errors import InputError


def split_of(catalog):
    return {clip.clip_id: clip.split for clip in catalog.clips}


class TestDrawnSplits:
    def names(self):
        people = ("anna", "ben", "cleo", "dora", "emil", "fay", "gus", "hal", "ida", "jon")
        return [
            f"{action}/{person}_{take:02}.mp4"
            for action in ("wave", "jump")
            for person in people
            for take in (1, 2, 3)
        ]

    def test_three_tenths_of_each_class_in_whole_groups(self, tmp_path):
        catalog = load(make(tmp_path, *self.names()))
        assert catalog.classes == ("jump", "wave")
        for class_name in catalog.classes:
            clips = [clip for clip in catalog.clips if clip.label_name == class_name]
            assert sum(clip.split == "test" for clip in clips) == 9  # 3 people of 10
            by_group = {}
            for clip in clips:
                by_group.setdefault(clip.group, set()).add(clip.split)
            assert len(by_group) == 10
            assert all(len(splits) == 1 for splits in by_group.values())
        assert catalog.clips[0].clip_id == "jump/anna_01"
        assert catalog.clips[0].group == "jump/anna"
        assert catalog.clips[0].path == str(tmp_path / "jump/anna_01.mp4")

    def test_same_names_give_the_same_split_and_another_number_another(self, tmp_path):
        first = make(tmp_path / "a", *self.names())
        second = make(tmp_path / "b", *reversed(self.names()))
        assert split_of(load(first)) == split_of(load(second))
        assert split_of(load(first)) != split_of(load(first, split=2))

    def test_draw_is_the_same_for_ever(self, tmp_path):
        # A changed draw would move test clips into the training of every user's next version.
        catalog = load(make(tmp_path, "jump/a.mp4", *(f"wave/{c}_1.mp4" for c in "abcdefghij")))
        test = [clip.clip_id for clip in catalog.clips if clip.split == "test"]
        assert test == ["wave/e_1", "wave/f_1", "wave/h_1"]

    def test_class_that_is_one_group_is_drawn_file_by_file_and_noted(self, tmp_path):
        names = [f"wave/take_{number}.mp4" for number in range(10)]
        catalog = load(make(tmp_path, *names, "jump/a.mp4", "jump/b.mp4"))
        assert catalog.clips_per_split == {"train": 8, "test": 4}
        assert {clip.group for clip in catalog.clips if clip.label_name == "wave"} == {None}
        (note,) = [note for note in catalog.notes if "File by file" in note]
        assert "wave" in note
        assert "jump" not in note

    def test_every_class_with_two_videos_is_tested_and_trained(self, tmp_path):
        names = ["big/a_1.mp4", "big/a_2.mp4", "big/a_3.mp4", "big/b_1.mp4", "big/b_2.mp4"]
        catalog = load(make(tmp_path, *names, "one/x.mp4", "two/x.mp4", "two/y.mp4"))
        splits = split_of(catalog)
        # 30 % of 5 are 2: the smaller group.
        assert {name for name in splits if splits[name] == "test"} >= {"big/b_1", "big/b_2"}
        assert splits["big/a_1"] == "train"
        assert sorted([splits["two/x"], splits["two/y"]]) == ["test", "train"]
        assert splits["one/x"] == "train"
        assert any("none in the test: one" in note for note in catalog.notes)

    @pytest.mark.parametrize(
        ("name", "group"),
        [
            ("wave/anna_01.mp4", "wave/anna"),
            ("wave/v_Wave_g01_c02.avi", "wave/v_Wave_g01"),
            ("wave/film-part2.mp4", "wave/film"),
            ("wave/film part 2.mp4", "wave/film"),
            ("wave/film.Clip12.mp4", "wave/film"),
            ("wave/-bbbbbbbbbb_000120_000130.mp4", "wave/-bbbbbbbbbb"),
            ("wave/cam1_anna.mp4", "wave/cam1_anna"),
            ("wave/anna01.mp4", "wave/anna01"),
            ("wave/_01.mp4", "wave/_01"),
            ("wave/day2/anna_01.mp4", "wave/day2/anna"),
        ],
    )
    def test_group_is_the_name_without_the_clips_number(self, name, group):
        assert group_name(pathlib.PurePath(name)) == group


class TestSplitFolders:
    def test_folders_called_like_splits_are_the_splits(self, tmp_path):
        make(tmp_path, "train/wave/a.mp4", "validation/wave/b.mp4", "test/jump/c.mp4")
        catalog = load(tmp_path)
        assert split_of(catalog) == {
            "train/wave/a": "train",
            "validation/wave/b": "val",
            "test/jump/c": "test",
        }
        assert catalog.classes == ("jump", "wave")
        assert catalog.notes == ("Without a video to train on: jump.",)

    def test_class_called_train_is_a_class(self, tmp_path):
        make(tmp_path, "train/a.mp4", "train/b.mp4", "bus/c.mp4", "bus/d.mp4")
        assert load(tmp_path).classes == ("bus", "train")


class TestListedSplits:
    def write(self, folder, text, *, name="splits.csv"):
        make(folder, "wave/a.mp4", "wave/b.mp4", "jump/c.mp4", "loose.mp4")
        (folder / name).write_text(text)
        return folder

    def test_list_decides_split_and_selection(self, tmp_path):
        self.write(tmp_path, "path,split\nwave/a.mp4,train\njump/c.mp4,Test\n")
        catalog = load(tmp_path)
        assert split_of(catalog) == {"wave/a": "train", "jump/c": "test"}
        assert [clip.label_name for clip in catalog.clips] == ["jump", "wave"]

    def test_label_column_overrides_the_folder(self, tmp_path):
        text = "split,label,path\ntrain,greet,wave/a.mp4\nval,,wave/b.mp4\ntrain,x,loose.mp4\n"
        self.write(tmp_path / "videos", "")
        (tmp_path / "mine.csv").write_text(text)
        catalog = load(tmp_path / "videos", splits=tmp_path / "mine.csv")
        assert catalog.classes == ("greet", "wave", "x")
        assert [(clip.clip_id, clip.label) for clip in catalog.clips] == [
            ("loose", 2),
            ("wave/a", 0),
            ("wave/b", 1),
        ]

    def test_groups_of_a_list_are_drawn_whole(self, tmp_path):
        names = [f"{label}/{n}.mp4" for label in ("jump", "wave") for n in range(12)]
        make(tmp_path, *names)
        lines = [f"{name},person{(n % 12) // 3}" for n, name in enumerate(names)]
        (tmp_path / "splits.csv").write_text("path,group\n" + "\n".join(lines))
        catalog = load(tmp_path)
        assert catalog.clips_per_split == {"train": 18, "test": 6}
        by_group = {}
        for clip in catalog.clips:
            by_group.setdefault(clip.group, set()).add(clip.split)
        # Everybody is in both classes, and in one split.
        assert set(by_group) == {f"person{n}" for n in range(4)}
        assert all(len(splits) == 1 for splits in by_group.values())
        assert load(tmp_path, split=2).clips_per_split == {"train": 18, "test": 6}

    def test_groups_of_a_list_with_splits_are_kept(self, tmp_path):
        self.write(tmp_path, "path,split,group\nwave/a.mp4,train,anna\njump/c.mp4,test,\n")
        assert {c.clip_id: c.group for c in load(tmp_path).clips} == {
            "wave/a": "anna",
            "jump/c": None,
        }

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "path,split,group\nwave/a.mp4,train,anna\njump/c.mp4,test,anna\n",
                "two splits.*'anna' in train and in test",
            ),
            ("path,split\nwave/z.mp4,train\nwave/a.mp4,test\n", "lacks 1 of 2.*wave/z.mp4"),
            ("path,split\nwave/a.mp4,learn\n", "split .*line 2.*train.*'learn'"),
            ("path,split\nloose.mp4,train\n", "class folder.*loose.mp4.*Add a label column"),
            ("file,split\nwave/a.mp4,train\n", "columns path, split.*Received: file, split"),
            ("path,split\nwave/a.mp4,train\nwave/a.mp4,test\n", "listed once.*wave/a"),
            ("path,split\n", "names none"),
            ("", "Received: nothing"),
        ],
    )
    def test_malformed_lists_say_where(self, tmp_path, text, message):
        self.write(tmp_path, text)
        with pytest.raises(InputError, match=message):
            load(tmp_path)

    def test_named_list_must_be_there(self, tmp_path):
        make(tmp_path, "wave/a.mp4")
        with pytest.raises(InputError, match="there is no mine.csv"):
            load(tmp_path, splits=tmp_path / "mine.csv")
        with pytest.raises(InputError, match="there is no splits.csv"):
            load(tmp_path, splits=tmp_path)


def test_videos_outside_of_class_folders_are_refused(tmp_path):
    make(tmp_path, "wave/a.mp4", "b.mp4", "c.mp4")
    with pytest.raises(InputError, match="CLASS/FILE.*2 do not, the first being b.mp4"):
        load(tmp_path)


def test_two_videos_with_one_id_are_refused(tmp_path):
    make(tmp_path, "wave/a.mp4", "wave/a.avi", "wave/b.avi")
    with pytest.raises(InputError, match="more than the extension.*wave/a"):
        load(tmp_path)
