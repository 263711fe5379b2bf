import cv2
import numpy as np
import pytest

from perfnet_tf.video.opening import VideoError
from perfnet_tf.video.picture_files import read_picture

PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_pictures_are_rgb_or_gray(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), PICTURE[..., ::-1])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), PICTURE)
    cv2.imwrite(str(tmp_path / "b.png"), PICTURE[..., 0])
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png", gray=True), PICTURE[..., 0])
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png")[..., 1], PICTURE[..., 0])


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(VideoError, match="must decode.*a.png"):
        read_picture(tmp_path / "a.png")


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(VideoError, match="a.png cannot be read: No such file"):
        read_picture(tmp_path / "a.png")
