import os
import unicodedata

import pytest

from perfnet_tf.datasets.video_files import (
    VIDEO_EXTENSIONS,
    VideoIndex,
    describe_left_out,
    find_videos,
    list_videos,
    video_stem,
)
from perfnet_tf.errors import InputError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder):
    return [file.as_posix() for file in find_videos(folder).files]


def test_every_ending_counts_in_any_case(tmp_path):
    touch(tmp_path, *(f"a{ending}" for ending in VIDEO_EXTENSIONS), "b.MTS", "c.VOB")
    assert len(names(tmp_path)) == len(VIDEO_EXTENSIONS) + 2
    assert {".wtv", ".3g2", ".qt", ".mpe", ".m2t", ".ogm"} <= VIDEO_EXTENSIONS
    assert {".m2ts", ".mts", ".dv", ".mxf", ".gif", ".webp", ".tod", ".divx"} <= VIDEO_EXTENSIONS


def test_shadow_files_of_the_mac_and_folders_called_like_videos_are_no_videos(tmp_path):
    touch(tmp_path, "wave/a.mp4", "wave/._a.mp4", "__MACOSX/wave/._a.mp4", "__MACOSX/wave/b.mp4")
    touch(tmp_path, ".DS_Store/c.mp4", ".Trash/d.mp4", "frames.mp4/00001.jpg", "wave/.DS_Store")
    assert names(tmp_path) == ["wave/a.mp4"]
    assert find_videos(tmp_path).left_out == {".jpg": 1, "hidden .mp4": 1}


def test_what_is_left_out_is_counted_by_ending(tmp_path):
    touch(
        tmp_path,
        "a.mp4",
        "a.keypoints.json",
        "a.json",
        "b.rmvb",
        "c/d.RMVB",
        "e.mp4.part",
        "README",
    )
    found = find_videos(tmp_path)
    assert found.left_out == {".json": 1, ".part": 1, ".rmvb": 2, "without an ending": 1}
    assert describe_left_out(found.left_out) == (
        "left out (not videos): 2 .rmvb, 1 .json, 1 .part, 1 without an ending"
    )


def test_many_endings_make_no_long_line():
    line = describe_left_out({".txt": 5, **{f".{number:04}": 1 for number in range(100)}})
    assert line.startswith("left out (not videos): 5 .txt, 1 .0000") and len(line) < 120
    assert line.endswith(", 93 with other endings")


@pytest.mark.parametrize(
    ("header", "is_video"),
    [
        (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(20), False),
        (b"RIFF\x10\0\0\0WEBPVP8X\x0a\0\0\0\x10" + bytes(20), False),
        (b"RIFF\x10\0\0\0WEBPVP8X\x0a\0\0\0\x12" + bytes(20), True),
    ],
)
def test_thumbnails_next_to_videos_are_no_videos(tmp_path, header, is_video):
    touch(tmp_path, "a.mp4")
    (tmp_path / "a.webp").write_bytes(header)
    assert names(tmp_path) == ["a.mp4", "a.webp"][: 1 + is_video]
    assert find_videos(tmp_path).left_out == ({} if is_video else {".webp of one picture": 1})


class TestLinks:
    def test_links_to_files_and_folders_are_followed_also_twice(self, tmp_path):
        touch(tmp_path / "disk", "one/a.mp4", "b.mp4")
        for split in ("train", "test"):
            (tmp_path / "videos" / split).mkdir(parents=True)
            (tmp_path / "videos" / split / "wave").symlink_to(tmp_path / "disk" / "one")
        (tmp_path / "videos" / "c.mp4").symlink_to(tmp_path / "disk" / "b.mp4")
        assert names(tmp_path / "videos") == ["c.mp4", "test/wave/a.mp4", "train/wave/a.mp4"]

    def test_a_link_to_a_link_to_a_folder(self, tmp_path):
        touch(tmp_path / "disk", "a.mp4")
        (tmp_path / "middle").symlink_to(tmp_path / "disk")
        (tmp_path / "videos").mkdir()
        (tmp_path / "videos" / "wave").symlink_to(tmp_path / "middle")
        (tmp_path / "link").symlink_to(tmp_path / "videos")
        assert names(tmp_path / "link") == ["wave/a.mp4"]

    def test_circles_end(self, tmp_path):
        touch(tmp_path, "a/x.mp4", "b/y.mp4")
        (tmp_path / "a" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "other").symlink_to(tmp_path / "b")
        (tmp_path / "b" / "other").symlink_to(tmp_path / "a")
        (tmp_path / "self").symlink_to(tmp_path / "self")
        assert names(tmp_path) == ["a/other/y.mp4", "a/x.mp4", "b/other/x.mp4", "b/y.mp4"]

    def test_a_broken_link_is_a_video_that_cannot_be_read(self, tmp_path):
        (tmp_path / "a.mp4").symlink_to(tmp_path / "nowhere")
        assert names(tmp_path) == ["a.mp4"]


def test_pipes_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    assert names(tmp_path) == ["a.mp4"]
    assert find_videos(tmp_path).left_out == {"device(s) or pipe(s)": 1}


def test_folders_that_cannot_be_read_are_counted(tmp_path, monkeypatch):
    touch(tmp_path, "a.mp4", "lost+found/b.mp4")
    scan = os.scandir

    def refuse(path):
        if path.endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert names(tmp_path) == ["a.mp4"]
    assert find_videos(tmp_path).left_out == {"unreadable folder(s)": 1}
    with pytest.raises(InputError, match="lost.found cannot be read: Permission denied"):
        find_videos(tmp_path / "lost+found")


def test_listing_takes_files_as_they_are_and_folders_in_order(tmp_path):
    touch(tmp_path, "v/b.mp4", "v/a/c.mkv", "v/notes.txt", "w/d.mp4", "w/more.txt", "film.xyz")
    videos, left_out = list_videos([tmp_path / "film.xyz", tmp_path / "v", tmp_path / "w", "gone"])
    assert [os.path.relpath(video, tmp_path) for video in videos[:-1]] == [
        "film.xyz",
        "v/a/c.mkv",
        "v/b.mp4",
        "w/d.mp4",
    ]
    assert str(videos[-1]) == "gone" and left_out == {".txt": 2}
    touch(tmp_path, "empty/notes.txt")
    with pytest.raises(InputError, match=r"A folder must hold videos .*empty \(1 .txt\)"):
        list_videos([tmp_path / "empty"])


def test_an_archive_in_place_of_a_folder_is_to_be_unpacked(tmp_path):
    touch(tmp_path, "UCF101.rar")
    with pytest.raises(InputError, match="which is a file. Unpack it first"):
        VideoIndex(tmp_path / "UCF101.rar")


class TestFinding:
    def test_two_extensions_are_none(self, tmp_path):
        touch(tmp_path, "x.mp4.mkv")
        index = VideoIndex(tmp_path)
        assert video_stem("x.mp4.mkv") == "x" and video_stem("take.2.avi") == "take.2"
        for name in ("x.mp4", "x.mp4.mkv", "x.avi", "x"):
            assert index.find(name) == str(tmp_path / "x.mp4.mkv")

    def test_names_are_the_same_in_each_unicode_form(self, tmp_path):
        disk = unicodedata.normalize("NFD", "Grüße.mp4")
        touch(tmp_path, f"{unicodedata.normalize('NFD', 'Café')}/{disk}")
        listed = unicodedata.normalize("NFC", "Grüße.mp4")
        assert listed != disk
        assert VideoIndex(tmp_path).find(listed, parents=("Café",)).endswith(disk)
