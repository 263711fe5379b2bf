"""Annotation lists of other libraries, each in the layout that it is published with."""

import json

import pytest

from perfnet_tf.classes import sided_classes
from perfnet_tf.datasets.catalog import load_catalog
from perfnet_tf.datasets.class_names import name_classes, read_names
from perfnet_tf.errors import InputError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def make_frames(folder, *clips, frames=4):
    for clip in clips:
        make(folder, *(f"{clip}/img_{number:05d}.jpg" for number in range(1, frames + 1)))
    return folder


@pytest.fixture
def videos(tmp_path):
    names = ("some/a.mp4", "some/b.mp4", "some/c d.mp4", "other/e.mp4")
    return make(tmp_path / "videos", *names)


@pytest.fixture
def lists(tmp_path):
    folder = tmp_path / "lists"
    folder.mkdir()
    return folder


def load(videos, lists, *texts, split=1, **named):
    """Writes the lists and reads them; one `texts` is a list without a split in its name."""
    for name, text in named.items():
        (lists / name.replace("__", ".")).write_text(text)
    target = lists
    if texts:
        target = lists / "annotations.txt"
        target.write_text(texts[0])
    return load_catalog("list", videos=videos, splits=target, split=split)


def rows(catalog):
    return {clip.clip_id: (clip.label, clip.label_name, clip.split) for clip in catalog.clips}


class TestVideos:
    def test_mmaction2_and_pytorchvideo(self, videos, lists):
        catalog = load(
            videos,
            lists,
            train__csv="some/a.mp4 1\nsome/c d.mp4 0\n",
            val__csv="some/b.mp4 3\n",
            labels__txt="no list",
        )
        assert catalog.classes == ("0", "1", "2", "3")
        assert rows(catalog) == {
            "some/a": (1, "1", "train"),
            "some/b": (3, "3", "val"),
            "some/c d": (0, "0", "train"),
        }
        assert "other/e.mp4" in catalog.notes[0] and all(c.group is None for c in catalog.clips)

    def test_slowfast_with_commas(self, videos, lists):
        catalog = load(videos, lists, train__csv="some/a.mp4,1\nsome/c d.mp4, 0\n")
        assert rows(catalog)["some/c d"] == (0, "0", "train")

    def test_names_as_labels(self, videos, lists):
        catalog = load(videos, lists, test__txt="some/a.mp4 Wave\nother/e.mp4 Jump\n")
        assert catalog.classes == ("Jump", "Wave") and rows(catalog)["some/a"][1:] == (
            "Wave",
            "test",
        )

    @pytest.mark.parametrize("prefix", ["data/set/videos/", "{videos}/", "\\"])
    def test_paths_with_a_beginning_of_their_own(self, videos, lists, prefix):
        name = prefix.format(videos=videos) + "some/a.mp4"
        assert rows(load(videos, lists, train__txt=f"{name} 0\n")) == {"some/a": (0, "0", "train")}

    def test_videos_that_are_not_there_are_counted(self, videos, lists):
        catalog = load(videos, lists, val__txt="some/a.mp4 0\nsome/x.mp4 1\nsome/y.mp4 0\n")
        assert catalog.missing == {"some/x.mp4": "val", "some/y.mp4": "val"}
        assert "2 of 3 listed clips are not there" in catalog.notes[1]
        assert catalog.classes == ("0", "1")
        with pytest.raises(InputError, match="No listed video is there.*first being q.mp4"):
            load(videos, lists, "q.mp4 0")

    def test_one_list_without_a_split_is_drawn_by_recording(self, tmp_path, lists):
        names = [f"{name}_{number}.mp4" for name in "abcd" for number in range(3)]
        videos = make(tmp_path / "videos", *names)
        catalog = load(videos, lists, "\n".join(f"{name} 0" for name in names))
        assert "drawn for the test" in catalog.notes[0]
        assert {clip.split for clip in catalog.clips} == {"train", "test"}
        by_group = {(clip.group, clip.split) for clip in catalog.clips}
        assert len(by_group) == 4

    def test_lists_by_name_and_by_number_of_the_split(self, videos, lists):
        for number, clip in enumerate(["some/a", "some/b"], start=1):
            for kind, ending in (("videos", ".mp4 0"), ("rawframes", " 4 0")):
                name = f"ucf101_train_split_{number}_{kind}.txt"
                (lists / name).write_text(f"{clip}{ending}\n")
        assert list(rows(load(videos, lists, split=2))) == ["some/b"]
        both = f"{lists}/ucf101_train_split_1_videos.txt,{lists}/test.txt"
        (lists / "test.txt").write_text("other/e.mp4 1")
        catalog = load_catalog("list", videos=videos, splits=both)
        assert catalog.clips_per_split == {"test": 1, "train": 1}

    def test_a_header_names_the_columns(self, videos, lists):
        text = "label,path,split,group\nrun,some/a.mp4,Validation,g1\nhop,other/e.mp4,train,g2\n"
        catalog = load(videos, lists, text)
        assert rows(catalog)["some/a"] == (1, "run", "val")
        assert [clip.group for clip in catalog.clips] == ["g2", "g1"]


class TestSegments:
    def test_are_clips_of_their_own_in_one_group(self, videos, lists):
        text = "some/a.mp4,0,1.5,2\nsome/a.mp4,1.5,10,0\nsome/b.mp4,2,4,1\n"
        catalog = load(videos, lists, train__csv=text)
        assert list(rows(catalog)) == ["some/a_0_1.5", "some/a_1.5_10", "some/b_2_4"]
        first, second, third = catalog.clips
        assert (first.start, first.end, second.start, second.end) == (0, 1.5, 1.5, 10)
        assert first.path == second.path and first.group == second.group == "some/a"
        assert len({clip.key for clip in catalog.clips}) == 3 and third.group == "some/b"

    def test_with_a_header(self, videos, lists):
        text = "path,start,end,label\nsome/a.mp4,0,1,x\nsome/b.mp4,,,y\n"
        catalog = load(videos, lists, train__csv=text)
        assert list(rows(catalog)) == ["some/a_0_1", "some/b"]

    def test_one_video_is_not_in_two_drawn_splits(self, tmp_path, lists):
        videos = make(tmp_path / "videos", *(f"{name}.mp4" for name in "abcdefg"))
        lines = [f"{name}.mp4,{s},{s + 1},0" for name in "abcdefg" for s in range(3)]
        catalog = load(videos, lists, "\n".join(lines))
        assert catalog.clips_per_split == {"train": 15, "test": 6}
        assert len({(clip.path, clip.split) for clip in catalog.clips}) == 7

    @pytest.mark.parametrize("times", ["2,1", "1,1", "-1,2", "a,2", "1,nan", "1,inf"])
    def test_times_in_order(self, videos, lists, times):
        with pytest.raises(InputError, match="START before END.*line 1"):
            load(videos, lists, train__csv=f"some/a.mp4,{times},0\n")


class TestFrames:
    def test_mmaction2_rawframes(self, tmp_path, lists):
        frames = make_frames(tmp_path / "frames", "some/directory-1", "some/directory-2")
        catalog = load(
            frames, lists, train__txt="some/directory-1 4 1\n", val__txt="some/directory-2 3 0\n"
        )
        assert rows(catalog)["some/directory-1"] == (1, "1", "train")
        assert [(c.first_frame, c.num_frames) for c in catalog.clips] == [(0, 4), (0, 3)]
        assert catalog.clips[0].path == str(frames / "some/directory-1")

    def test_with_offset(self, tmp_path, lists):
        frames = make_frames(tmp_path / "frames", "v.1", frames=9)
        catalog = load(frames, lists, train__txt="v.1 0 4 1\nv.1 4 5 0\n")
        assert list(rows(catalog)) == ["v.1", "v.1_4_9"]
        assert [(c.first_frame, c.num_frames) for c in catalog.clips] == [(0, 4), (4, 5)]

    def test_with_commas(self, tmp_path, lists):
        frames = make_frames(tmp_path / "frames", "a", "b")
        assert [c.num_frames for c in load(frames, lists, train__csv="a,4,x\nb,3,y\n").clips] == [
            4,
            3,
        ]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("some/a.mp4", "A line is PATH LABEL"),
            ("some/a.mp4 -1", "has a label. Received: -1"),
            ("some/a.mp4 1 3", "A clip has one label.*folders of pictures"),
            ("some/a.mp4,1,2,3,4", "path,label or path,start,end,label"),
            ("path,label,weight\nsome/a.mp4,1,2", "Received: path, label, weight"),
            ("path,label,start\nsome/a.mp4,1,2", "start and end"),
            ("some/a.mp4 1\nsome/a.mp4 2", "listed once"),
            ("path,label,split\nsome/a.mp4,1,train\nsome/b.mp4,1,", "or none has.*some/b.mp4"),
        ],
    )
    def test_of_lines(self, videos, lists, text, message):
        with pytest.raises(InputError, match=message):
            load(videos, lists, text)

    def test_of_lists(self, videos, lists):
        with pytest.raises(InputError, match="a folder of lists called after their splits"):
            load(videos, lists, labels__txt="a\n")
        with pytest.raises(InputError, match="one for each. Received: val.txt and val.csv"):
            load(videos, lists, val__txt="some/a.mp4 0", val__csv="some/a.mp4 0")
        with pytest.raises(InputError, match="lists that exist"):
            load_catalog("list", videos=videos, splits=lists / "nowhere.txt")


class TestClassNames:
    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("label_map.txt", "jump\nopen left door\n"),
            ("classInd.txt", "1 jump\n2 open left door\n"),
            ("numbered.txt", "0,jump\n1,open left door\n"),
            ("kinetics_400_labels.csv", "id,name\n0,jump\n1,open left door\n"),
            ("names.json", '["jump", "open left door"]'),
            ("kinetics_classnames.json", '{"jump": 0, "\\"open left door\\"": 1}'),
            ("labels.json", '{"jump": "0", "open left door": "1"}'),
            ("id2label.json", '{"0": "jump", "1": "open left door"}'),
        ],
    )
    def test_forms(self, tmp_path, file, text):
        (tmp_path / file).write_text(text)
        assert read_names(tmp_path / file) == ("jump", "open left door")

    def test_numbers_get_names_and_names_their_order(self, videos, lists):
        (lists / "names.txt").write_text("zeal\nopen\nmove\n")
        catalog = load(videos, lists, train__txt="some/a.mp4 2\nother/e.mp4 0\n")
        named = name_classes(catalog, lists / "names.txt")
        assert named.classes == ("zeal", "open", "move")
        assert rows(named)["some/a"] == (2, "move", "train")
        catalog = load(videos, lists, train__txt="some/a.mp4 move\nother/e.mp4 zeal\n")
        assert rows(name_classes(catalog, lists / "names.txt"))["other/e"][0] == 0

    def test_a_class_without_a_name(self, videos, lists):
        (lists / "names.txt").write_text("zeal\nopen\n")
        catalog = load(videos, lists, train__txt="some/a.mp4 2\n")
        with pytest.raises(InputError, match="'2' .*has 2. Numbers begin at 0."):
            name_classes(catalog, lists / "names.txt")

    def test_names_that_say_left_or_right(self):
        sided = ["turn left", "RightTurn", "swipe_right", "Pulling something from left to right"]
        others = ["upright piano", "bright", "leftover", "RIGHTEOUS", "jump"]
        assert sided_classes([*sided, *others]) == sided


class TestSomethingSomething:
    @pytest.fixture
    def ssv2(self, tmp_path):
        make(tmp_path / "videos", "78687.webm", "42326.webm", "100904.webm")
        entry = {
            "id": "78687",
            "label": "holding potato next to vicks vaporub bottle",
            "template": "Holding [something] next to [something]",
            "placeholders": ["potato", "vicks vaporub bottle"],
        }
        other = {**entry, "id": "42326", "template": "Pushing [something] from left to right"}
        gone = {**entry, "id": "9"}
        lists = tmp_path / "labels"
        lists.mkdir()
        self.write(lists, "train", [entry, gone])
        self.write(lists, "validation", [other])
        self.write(lists, "test", [{"id": "100904"}])
        labels = {"Pushing something from left to right": "0"}
        labels["Holding something next to something"] = "1"
        self.write(lists, "labels", labels)
        return tmp_path / "videos", lists

    def write(self, lists, name, content):
        (lists / f"something-something-v2-{name}.json").write_text(json.dumps(content))

    def test_templates_are_the_classes(self, ssv2):
        catalog = load_catalog("ssv2", videos=ssv2[0], splits=ssv2[1])
        assert catalog.classes[1] == "Holding something next to something"
        assert rows(catalog) == {
            "78687": (1, "Holding something next to something", "train"),
            "42326": (0, "Pushing something from left to right", "val"),
        }
        assert catalog.missing == {"9": "train"} and "1 of 3 listed" in catalog.notes[0]

    def test_folders_of_frames_will_do(self, ssv2, tmp_path):
        frames = make_frames(tmp_path / "frames", "78687", "42326")
        assert len(load_catalog("ssv2", videos=frames, splits=ssv2[1]).clips) == 2

    def test_refusals(self, ssv2):
        videos, lists = ssv2
        self.write(lists, "validation", [{"id": "42326", "template": "Eating [something]"}])
        with pytest.raises(InputError, match="template must be in.*'Eating something' of 42326"):
            load_catalog("ssv2", videos=videos, splits=lists)
        self.write(lists, "validation", [{"id": 42326}])
        with pytest.raises(InputError, match="entry 0 with id=42326"):
            load_catalog("ssv2", videos=videos, splits=lists)
        (lists / "something-something-v2-labels.json").unlink()
        with pytest.raises(InputError, match=r"needs its list \*labels.json"):
            load_catalog("ssv2", videos=videos, splits=lists)


class TestDiving48:
    @pytest.fixture
    def diving(self, tmp_path):
        make(tmp_path / "rgb", "_8Vy3dlHg2w_00000.mp4", "-mmq0PT-u8k_00155.mp4")
        entry = {"vid_name": "-mmq0PT-u8k_00155", "label": 0, "start_frame": 0, "end_frame": 48}
        part = {"vid_name": "_8Vy3dlHg2w_00000", "label": 1, "start_frame": 5, "end_frame": 60}
        vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Forward", "1som", "NoTwis", "PIKE"]]
        self.write(tmp_path, "V2_train", [entry])
        self.write(tmp_path, "V2_test", [part, {**part, "vid_name": "gone"}])
        self.write(tmp_path, "vocab", vocabulary)
        return tmp_path

    def write(self, folder, name, content):
        (folder / f"Diving48_{name}.json").write_text(json.dumps(content))

    def test_clips_and_classes(self, diving):
        catalog = load_catalog("diving48", videos=diving / "rgb", splits=diving)
        assert catalog.classes == ("Back 15som 05Twis FREE", "Forward 1som NoTwis PIKE")
        whole, part = catalog.clips
        assert (whole.clip_id, whole.label, whole.split) == ("-mmq0PT-u8k_00155", 0, "train")
        assert whole.num_frames is None and (part.first_frame, part.num_frames) == (5, 55)
        assert part.split == "test" and catalog.missing == {"gone": "test"}

    def test_refusals(self, diving):
        self.write(diving, "V2_train", [{"vid_name": "a", "label": 0}])
        with pytest.raises(InputError, match="start_frame=None"):
            load_catalog("diving48", videos=diving / "rgb", splits=diving)
        self.write(diving, "vocab", ["Back"])
        with pytest.raises(InputError, match="each a list of words"):
            load_catalog("diving48", videos=diving / "rgb", splits=diving)


class TestFrameFolders:
    def test_per_class(self, tmp_path):
        make_frames(tmp_path, "Up/a.1", "Up/b", "Down/c", "Down/d")
        make(tmp_path, "Up/b/flow_x_00001.jpg", "Up/b/flow_y_00001.jpg", "notes.txt")
        catalog = load_catalog("folder", videos=tmp_path)
        assert [clip.clip_id for clip in catalog.clips] == ["Down/c", "Down/d", "Up/a.1", "Up/b"]
        assert catalog.clips[2].path == str(tmp_path / "Up/a.1")
        assert catalog.left_out == {".txt": 1}

    def test_videos_come_first(self, tmp_path):
        make(make_frames(tmp_path, "Up/thumbs"), "Up/a.mp4", "Down/b.mp4")
        catalog = load_catalog("folder", videos=tmp_path)
        assert [clip.clip_id for clip in catalog.clips] == ["Down/b", "Up/a"]
        assert catalog.left_out == {".jpg": 4}

    def test_by_the_official_lists(self, tmp_path):
        make_frames(tmp_path / "frames", "Up/v_Up_g01_c01", "Down/v_Down_g02_c01")
        lists = tmp_path / "lists"
        lists.mkdir()
        (lists / "classInd.txt").write_text("1 Down\n2 Up\n")
        (lists / "trainlist01.txt").write_text("Up/v_Up_g01_c01.avi 2\n")
        (lists / "testlist01.txt").write_text("Down/v_Down_g02_c01.avi\n")
        catalog = load_catalog("ucf101", videos=tmp_path / "frames", splits=lists)
        assert rows(catalog)["Up/v_Up_g01_c01"] == (1, "Up", "train")

    def test_by_a_split_list(self, tmp_path):
        make_frames(tmp_path, "Up/a", "Down/b")
        (tmp_path / "splits.csv").write_text("path,split\nUp/a.mp4,train\nDown/b,test\n")
        assert rows(load_catalog("folder", videos=tmp_path))["Down/b"] == (0, "Down", "test")
