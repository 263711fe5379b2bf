"""Folders of numbered pictures as videos."""

import numpy as np
import pytest
from painted_frames import numbers, paint, write_lossless, write_pictures

from perfnet_tf.errors import InputError
from perfnet_tf.video.decode import VideoError, read_video
from perfnet_tf.video.frame_folder import read_frame_folder
from perfnet_tf.video.frame_names import is_frame_name


def read(folder, rate=25, **options):
    return read_frame_folder(folder, rate, **options)[0]


@pytest.mark.parametrize("rate", [24, 25, 30])
@pytest.mark.parametrize("fps", [None, 10, 25, 50])
def test_a_folder_is_the_video_of_its_pictures(tmp_path, rate, fps):
    folder = write_pictures(tmp_path / "clip", 20)
    options = {"fps": fps, "short_side": 32}
    pictures = read(folder, rate, **options)
    video = read_video(write_lossless(tmp_path / "clip.avi", 20, rate), **options)
    np.testing.assert_array_equal(pictures.frames, video.frames)
    np.testing.assert_allclose(pictures.timestamps, video.timestamps, atol=1e-6)
    assert pictures.source_fps == video.source_fps
    assert pictures.num_source_frames == video.num_source_frames
    np.testing.assert_array_equal(pictures.source_indices, video.source_indices)


@pytest.mark.parametrize("first", [0, 1, 7])
@pytest.mark.parametrize(
    "name", ["img_{:05d}.png", "{}.png", "frame{:06d}.PNG", "image-{:03d}.bmp"]
)
def test_names_and_first_numbers(tmp_path, first, name):
    assert numbers(read(write_pictures(tmp_path, 12, name=name, first=first)).frames) == [
        *range(12)
    ]


def test_jpeg_frames_are_those_of_the_files(tmp_path):
    folder = write_pictures(tmp_path, 3, name="img_{:05d}.jpg")
    assert numbers(read(folder).frames) == [0, 1, 2]


def test_flow_next_to_the_frames_does_not_matter(tmp_path):
    write_pictures(tmp_path, 4)
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg", "x_00001.jpg", "notes.txt", "thumb9.jpg"):
        (tmp_path / name).touch()
    assert numbers(read(tmp_path).frames) == [0, 1, 2, 3]
    assert is_frame_name("img_00001.jpg") and is_frame_name("000001.png")
    assert not is_frame_name("flow_x_00001.jpg") and not is_frame_name("cover.jpg")


def test_a_missing_number_keeps_the_time_of_the_others(tmp_path):
    folder = write_pictures(tmp_path, 8, without=(3, 4))
    video, missing = read_frame_folder(folder, 25, fps=25)
    assert numbers(video.frames) == [0, 1, 2, 2, 2, 5, 6, 7] and missing == 2
    own, _ = read_frame_folder(folder, 25)
    np.testing.assert_allclose(own.timestamps, np.array([0, 1, 2, 5, 6, 7]) / 25)


def test_a_part(tmp_path):
    folder = write_pictures(tmp_path, 20)
    part = read(folder, first=5, count=6, fps=50)
    assert numbers(part.frames) == [5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10]
    np.testing.assert_allclose(part.timestamps, 5 / 25 + np.arange(12) / 50)


def test_limits(tmp_path):
    folder = write_pictures(tmp_path, 9)
    video = read(folder, max_frames=4)
    assert numbers(video.frames) == [0, 1, 2, 3] and video.stopped
    assert len(read(folder, fps=25, max_bytes=2 * paint(0).nbytes).frames) == 2
    assert not read(folder, max_frames=9).stopped


class TestRefusals:
    def test_fewer_pictures_than_listed(self, tmp_path):
        folder = write_pictures(tmp_path, 5)
        with pytest.raises(VideoError, match=r"Frames 0 to 7 are wanted.*which has 5\."):
            read(folder, count=8)

    def test_the_first_is_missing(self, tmp_path):
        with pytest.raises(VideoError, match="without frame 4"):
            read(write_pictures(tmp_path, 6, without=[3]), first=3, count=3)

    def test_a_picture_that_does_not_decode(self, tmp_path):
        write_pictures(tmp_path, 5)
        (tmp_path / "img_00003.png").write_bytes(b"cut off")
        with pytest.raises(VideoError, match="must decode.*img_00003.png"):
            read(tmp_path)

    def test_another_size(self, tmp_path):
        import cv2

        write_pictures(tmp_path, 2)
        cv2.imwrite(str(tmp_path / "img_00003.png"), paint(2, 24, 40))
        with pytest.raises(VideoError, match="one size.*of 40x24, after 80x48"):
            read(tmp_path)

    def test_no_pictures_or_two_series(self, tmp_path):
        with pytest.raises(InputError, match="one series of numbered pictures.*none"):
            read(tmp_path)
        write_pictures(tmp_path, 2, name="left_{}.png")
        write_pictures(tmp_path, 2, name="right_{}.png")
        with pytest.raises(InputError, match="called left and right"):
            read(tmp_path)
