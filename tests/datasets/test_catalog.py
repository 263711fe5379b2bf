import subprocess
import sys

import pytest

from perfnet_tf.datasets.catalog import (
    DATASETS,
    Catalog,
    VideoIndex,
    describe_catalog,
    load_catalog,
    read_table,
)
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def make_clip(clip_id, split="train"):
    return SourceClip(clip_id, f"/videos/{clip_id}.avi", 0, "wave", split)


class TestCatalog:
    def test_counts_clips_of_each_split(self):
        clips = (make_clip("a"), make_clip("b", "test"), make_clip("c"))
        assert Catalog("mine", ("wave",), clips).clips_per_split == {"train": 2, "test": 1}

    def test_refuses_repeated_ids(self):
        clips = (make_clip("wave/a"), make_clip("wave/b"), make_clip("wave/a", "test"))
        with pytest.raises(InputError, match="must be listed once.*1 ids.*wave/a"):
            Catalog("mine", ("wave",), clips)

    def test_refuses_no_clips(self):
        with pytest.raises(InputError, match="must have videos.*mine"):
            Catalog("mine", ("wave",), ())

    def test_is_described_by_its_classes_and_videos_and_what_was_left_out(self):
        classes = tuple("abcdefgh")
        clips = tuple(
            SourceClip(name, f"/{name}.avi", classes.index(name), name, "train") for name in "ab"
        )
        catalog = Catalog("mine", classes, clips, left_out={".rmvb": 2, ".txt": 3})
        assert describe_catalog(catalog) == (
            "mine: 8 classes (a, b, c, d, e, f, ...), 2 videos: train 2",
            "left out (not videos): 3 .txt, 2 .rmvb",
        )


class TestVideoIndex:
    def test_finds_videos_in_order_and_nothing_else(self, tmp_path):
        touch(tmp_path / "b.MP4", tmp_path / "wave" / "a.avi", tmp_path / "wave" / "a.json")
        touch(tmp_path / ".hidden" / "c.avi", tmp_path / "wave" / "._a.avi")
        assert [str(file) for file in VideoIndex(tmp_path).files] == ["b.MP4", "wave/a.avi"]

    def test_prefers_the_named_folder_to_the_top_and_skips_others(self, tmp_path):
        touch(tmp_path / "wave" / "x.avi", tmp_path / "jump" / "x.avi", tmp_path / "x.avi")
        touch(tmp_path / "jump" / "y.avi", tmp_path / "z.avi")
        index = VideoIndex(tmp_path)
        assert index.find("x.avi", parents=("wave",)) == str(tmp_path / "wave" / "x.avi")
        assert index.find("x.avi", parents=("run",)) == str(tmp_path / "x.avi")
        assert index.find("z.avi", parents=("wave",)) == str(tmp_path / "z.avi")
        assert index.find("y.avi", parents=("wave",)) is None
        assert index.find("y.avi") == str(tmp_path / "jump" / "y.avi")

    def test_takes_another_extension_only_without_the_exact_one(self, tmp_path):
        touch(tmp_path / "x.avi", tmp_path / "x.mkv", tmp_path / "y.mp4")
        index = VideoIndex(tmp_path)
        assert index.find("x.mkv") == str(tmp_path / "x.mkv")
        assert index.find("y.avi") == str(tmp_path / "y.mp4")

    def test_names_with_dots_are_whole(self, tmp_path):
        touch(tmp_path / "take.2.avi")
        index = VideoIndex(tmp_path)
        assert index.find("take.2.avi") == index.find("take.2") == str(tmp_path / "take.2.avi")
        assert index.find("take.avi") is None

    def test_paths_are_absolute(self, tmp_path, monkeypatch):
        touch(tmp_path / "videos" / "x.avi")
        monkeypatch.chdir(tmp_path)
        assert VideoIndex("videos").find("x.avi") == str(tmp_path / "videos" / "x.avi")

    def test_links_in_a_circle_end(self, tmp_path):
        touch(tmp_path / "wave" / "x.avi")
        (tmp_path / "wave" / "again").symlink_to(tmp_path)
        assert [str(file) for file in VideoIndex(tmp_path).files] == ["wave/x.avi"]

    def test_linked_folders_are_followed(self, tmp_path):
        touch(tmp_path / "disk" / "x.avi")
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "wave").symlink_to(tmp_path / "disk")
        assert [str(file) for file in VideoIndex(tmp_path / "videos").files] == ["wave/x.avi"]

    def test_missing_and_empty_folders_are_refused(self, tmp_path):
        with pytest.raises(InputError, match="absent, which does not exist"):
            VideoIndex(tmp_path / "absent")
        touch(tmp_path / "x.avi")
        with pytest.raises(InputError, match="x.avi, which is a file"):
            VideoIndex(tmp_path / "x.avi")
        (tmp_path / "empty").mkdir()
        with pytest.raises(InputError, match="in which there are none"):
            VideoIndex(tmp_path / "empty")


class TestTables:
    def test_reads_quotes_spaces_and_a_byte_order_mark(self, tmp_path):
        path = tmp_path / "list.csv"
        path.write_bytes(b'\xef\xbb\xbfpath, split\r\n"a, b.mp4", test\r\nc.mp4\r\n')
        columns, rows = read_table(path)
        assert columns == ["path", "split"]
        assert list(rows) == [
            (f"{path}, line 2", {"path": "a, b.mp4", "split": "test"}),
            (f"{path}, line 3", {"path": "c.mp4", "split": ""}),
        ]

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_columns_may_be_separated_as_spreadsheets_do(self, tmp_path, delimiter):
        path = tmp_path / "list.csv"
        path.write_text(f'Path{delimiter}SPLIT\n"a{delimiter}, b.mp4"{delimiter}test\n')
        columns, rows = read_table(path)
        assert columns == ["path", "split"]
        assert [row for _, row in rows] == [{"path": f"a{delimiter}, b.mp4", "split": "test"}]

    def test_refuses_what_is_no_text(self, tmp_path):
        (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00\x80")
        with pytest.raises(InputError, match="list.csv cannot be read"):
            read_table(tmp_path / "list.csv")


def test_unknown_dataset_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'ucf101'"):
        load_catalog("ucf-101", videos=tmp_path)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_refuses_a_missing_folder(tmp_path, dataset):
    with pytest.raises(InputError, match="does not exist"):
        load_catalog(dataset, videos=tmp_path / "absent", splits=tmp_path)


def test_catalogs_need_no_tensorflow():
    code = (
        "import sys\n"
        "from perfnet_tf.datasets import catalog, folder, hmdb51, kinetics, ucf101\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
