"""Lists that give a clip several labels."""

import pytest

from perfnet_tf.datasets.catalog import describe_catalog, load_catalog
from perfnet_tf.datasets.class_names import name_classes
from perfnet_tf.errors import InputError


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def videos(tmp_path):
    return make(tmp_path / "videos", "some/a.mp4", "some/b.mp4", "c.mp4")


def load(folder, videos, separator=";", **lists):
    for name, text in lists.items():
        (folder / f"{name}.csv").write_text(text)
    paths = ",".join(str(folder / f"{name}.csv") for name in lists)
    return load_catalog("list", videos=videos, splits=paths, label_separator=separator)


def rows(catalog):
    return {clip.clip_id: clip.labels for clip in catalog.clips}


def test_of_mmaction2_with_blanks(tmp_path, videos):
    catalog = load(tmp_path, videos, train="some/a.mp4 3 1 1\nsome/b.mp4 0\n", val="c.mp4 2 0\n")
    assert catalog.label_kind == "multi"
    assert catalog.classes == ("0", "1", "2", "3")
    assert rows(catalog) == {
        "some/a": {1: "1", 3: "3"},
        "some/b": {0: "0"},
        "c": {0: "0", 2: "2"},
    }
    assert describe_catalog(catalog)[0].endswith("3 videos: val 1, train 2; 5 labels")


def test_of_mmaction2_for_folders_of_pictures(tmp_path):
    names = [f"{clip}/img_{number:05d}.jpg" for clip in ("a", "b") for number in (1, 2, 3)]
    frames = make(tmp_path / "frames", *names)
    catalog = load(tmp_path, frames, train="a 3 1 0\n", test="b 2 1\n")
    assert rows(catalog) == {"a": {0: "0", 1: "1"}, "b": {1: "1"}}
    assert [clip.num_frames for clip in catalog.clips] == [3, 2]


def test_with_commas(tmp_path, videos):
    catalog = load(tmp_path, videos, train="some/a.mp4,run,jump\nsome/b.mp4,run\n", val="c.mp4,sit")
    assert catalog.classes == ("jump", "run", "sit")
    assert rows(catalog)["some/a"] == {0: "jump", 1: "run"}


@pytest.mark.parametrize(
    "separator, cell", [(";", "run; sit"), ("|", "run|sit"), (",", '"run,sit"')]
)
def test_with_a_header_and_a_stated_separator(tmp_path, videos, separator, cell):
    text = f"path,label,split\nsome/a.mp4,{cell},train\nc.mp4,sit,test\n"
    catalog = load(tmp_path, videos, separator, table=text)
    assert rows(catalog) == {"some/a": {0: "run", 1: "sit"}, "c": {1: "sit"}}


def test_without_a_separator_a_cell_is_one_name(tmp_path, videos):
    text = "path,label,split\nsome/a.mp4,run;sit,train\nc.mp4,sit,test\n"
    catalog = load(tmp_path, videos, None, table=text)
    assert catalog.label_kind == "single"
    assert rows(catalog)["some/a"] == {0: "run;sit"}


def test_parts_of_videos_have_several_labels(tmp_path, videos):
    text = "path,label,start,end,split\nc.mp4,a;b,0,2,train\nc.mp4,b,2,4,train\n"
    catalog = load(tmp_path, videos, table=text)
    assert rows(catalog) == {"c_0_2": {0: "a", 1: "b"}, "c_2_4": {1: "b"}}


def test_a_split_is_drawn_by_recording(tmp_path):
    videos = make(tmp_path / "videos", *(f"r{number}.mp4" for number in range(20)))
    lines = [f"r{number}.mp4 {number % 3} {3 + number % 2}" for number in range(20)]
    catalog = load(tmp_path, videos, every="\n".join(lines))
    assert set(catalog.clips_per_split) == {"train", "test"}
    assert len(catalog.clips) == 20


def test_classes_get_their_names_in_another_order(tmp_path, videos):
    catalog = load(tmp_path, videos, train="some/a.mp4,run,jump\nsome/b.mp4,run\n", val="c.mp4,sit")
    (tmp_path / "names.txt").write_text("sit\nrun\njump\n")
    named = name_classes(catalog, tmp_path / "names.txt")
    assert named.label_kind == "multi"
    assert rows(named)["some/a"] == {1: "run", 2: "jump"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("some/a.mp4 1 -1\n", "Every video has a label"),
        ("some/a.mp4\n", "PATH LABEL LABEL"),
        ("path,label,split\nsome/a.mp4,run;;sit,train\n", "Every video has a label"),
    ],
)
def test_refused_lines(tmp_path, videos, text, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, videos, train=text)


def test_other_datasets_have_no_separator(tmp_path, videos):
    with pytest.raises(InputError, match="is for `dataset=list`"):
        load_catalog("folder", videos=videos, label_separator=";")


class TestCharades:
    CLASSES = "c000 Holding some clothes\nc001 Putting clothes somewhere\nc002 Opening a door\n"
    HEADER = "id,subject,scene,quality,script,objects,actions,length\n"

    @pytest.fixture
    def lists(self, tmp_path):
        folder = tmp_path / "lists"
        folder.mkdir()
        (folder / "Charades_v1_classes.txt").write_text(self.CLASSES)
        train = (
            '46GP8,HR43,Kitchen,6,"A person, who cooks.",food,c002 11.90 21.20;c000 0.00 12.60;'
            "c002 22.00 24.00,24.83\nN11GT,0KZ7,Stairs,5,None.,,,18.33\n"
        )
        (folder / "Charades_v1_train.csv").write_text(self.HEADER + train)
        test = "YSKX3,X,Hall,5,x,,c001 0.00 2.00,30\nGONE1,X,Hall,5,x,,c001 0.00 2.00,30\n"
        (folder / "Charades_v1_test.csv").write_text(self.HEADER + test)
        return folder

    def test_a_clip_has_the_classes_of_its_actions(self, tmp_path, lists):
        videos = make(tmp_path / "videos", "46GP8.mp4", "N11GT.mp4", "YSKX3.mp4")
        catalog = load_catalog("charades", videos=videos, splits=lists)
        assert catalog.label_kind == "multi"
        assert catalog.classes[2] == "Opening a door" and len(catalog.classes) == 3
        assert rows(catalog) == {
            "46GP8": {0: "Holding some clothes", 2: "Opening a door"},
            "YSKX3": {1: "Putting clothes somewhere"},
        }
        assert catalog.clips_per_split == {"train": 1, "test": 1}
        assert dict(catalog.missing) == {"GONE1": "test"}
        assert catalog.notes[-1] == "1 listed videos show no action, and are left out."

    def test_refusals(self, tmp_path, lists):
        videos = make(tmp_path / "videos", "46GP8.mp4")
        (lists / "Charades_v1_test.csv").write_text("id,actions\n46GP8,c009 0.0 1.0\n")
        with pytest.raises(InputError, match="CLASS START END"):
            load_catalog("charades", videos=videos, splits=lists)
        (lists / "Charades_v1_test.csv").write_text("id,scene\n46GP8,Hall\n")
        with pytest.raises(InputError, match="columns id and actions"):
            load_catalog("charades", videos=videos, splits=lists)
        with pytest.raises(InputError, match="No listed video"):
            (lists / "Charades_v1_test.csv").write_text("id,actions\n")
            load_catalog("charades", videos=make(tmp_path / "other", "x.mp4"), splits=lists)
