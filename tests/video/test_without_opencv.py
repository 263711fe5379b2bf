"""Videos where OpenCV cannot be loaded, as without libGL: the frames are the same."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from written_videos import numbered, write

from perfnet_tf.errors import MissingLibraryError
from perfnet_tf.video import colour, optional_opencv, orientation, shapes
from perfnet_tf.video.colour import tone_map
from perfnet_tf.video.decode import read_video
from perfnet_tf.video.orientation import Orientation

TRANSFERS = {"PQ": 16, "HLG": 18}


def textured(number):
    noise = np.random.default_rng(number).integers(0, 60, (48, 80, 3))
    return (numbered(number, 48, 80) // 2 + noise).astype(np.uint8)


@pytest.fixture
def both_ways(monkeypatch):
    """Calls a function with OpenCV and without."""

    def call(function, *arguments, **options):
        expected = function(*arguments, **options)
        with monkeypatch.context() as patch:
            for module in (shapes, orientation, colour):
                patch.setattr(module, "find_opencv", lambda: None)
            return function(*arguments, **options), expected

    return call


@pytest.mark.parametrize("short_side", [None, 17, 24, 61])
@pytest.mark.parametrize("aspect", [1, Fraction(3, 2)])
def test_frames_of_any_size_are_the_same(tmp_path, both_ways, short_side, aspect):
    def stretch(stream):
        stream.codec_context.sample_aspect_ratio = aspect

    path = write(tmp_path / "a.mp4", [textured(n) for n in range(3)], on_stream=stretch)
    found, expected = both_ways(read_video, path, short_side=short_side)
    np.testing.assert_array_equal(found.frames, expected.frames)


@pytest.mark.parametrize("degrees", [0, 90, 270])
@pytest.mark.parametrize("flip", [None, -1, 0, 1])
def test_turned_frames_are_the_same(both_ways, degrees, flip):
    found, expected = both_ways(Orientation(degrees, flip).apply, textured(0))
    np.testing.assert_array_equal(found, expected)
    assert found.flags.c_contiguous


@pytest.mark.parametrize("transfer", TRANSFERS.values(), ids=TRANSFERS)
def test_hdr_differs_by_a_level_in_few_pixels(both_ways, transfer):
    rgb = np.random.default_rng(0).integers(0, 2**16, (200, 300, 3)).astype(np.uint16)
    found, expected = both_ways(tone_map, rgb, transfer)
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1 and np.mean(difference > 0) < 1e-3


def test_opencv_is_looked_for_once(monkeypatch):
    tries = []

    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "perfnet_tf.opencv":
                tries.append(name)
                raise MissingLibraryError("no libGL")

    monkeypatch.delitem(sys.modules, "perfnet_tf.opencv", raising=False)
    monkeypatch.setattr("sys.meta_path", [Finder, *sys.meta_path])
    optional_opencv.find_opencv.cache_clear()
    try:
        assert optional_opencv.find_opencv() is None and optional_opencv.find_opencv() is None
    finally:
        optional_opencv.find_opencv.cache_clear()
    assert len(tries) == 1
