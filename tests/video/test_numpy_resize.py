import platform

import cv2
import numpy as np
import pytest

from perfnet_tf.video.numpy_resize import resize_picture

#: Width and height before and after: what videos have, and odd ones.
SIZES = [
    (320, 240, 341, 256),
    (320, 240, 160, 120),
    (1920, 1080, 455, 256),
    (768, 512, 256, 128),
    (480, 640, 256, 341),
    (720, 576, 300, 600),
    (720, 576, 800, 300),
    (7, 5, 7, 9),
    (1, 1, 5, 6),
    (300, 1, 10, 1),
    *map(tuple, np.random.default_rng(0).integers(1, 130, (40, 4)).tolist()),
]


def row(*levels):
    return np.array(levels, np.uint8)[None, :, None]


@pytest.mark.parametrize(
    ("levels", "width", "area", "expected"),
    [
        ((0, 90, 30), 2, True, (30, 50)),  # (2*0 + 90) / 3, (90 + 2*30) / 3
        ((0, 2, 3, 5), 2, True, (1, 4)),
        ((0, 1, 2, 3, 7, 9), 2, True, (1, 6)),  # 19 / 3
        ((0, 100), 4, False, (0, 25, 75, 100)),  # between the centres, level beyond them
    ],
)
def test_a_row_is_resized_as_by_hand(levels, width, area, expected):
    found = resize_picture(row(*levels), width, 1, area=area)
    np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("area", [True, False])
def test_pictures_are_opencvs(dtype, area):
    random = np.random.default_rng(1)
    interpolation = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    exact = platform.machine() == "x86_64" and (area or dtype == np.uint8)
    for old_width, old_height, width, height in SIZES:
        levels = random.integers(0, np.iinfo(dtype).max + 1, (old_height, old_width, 3))
        picture = levels.astype(dtype)
        expected = cv2.resize(picture, (width, height), interpolation=interpolation)
        found = resize_picture(picture, width, height, area=area)
        assert found.dtype == dtype and found.shape == (height, width, 3)
        difference = np.abs(found.astype(int) - expected.reshape(found.shape))
        most = 0 if exact else 1 if dtype == np.uint8 else 8
        assert difference.max() <= most, (old_width, old_height, width, height)
