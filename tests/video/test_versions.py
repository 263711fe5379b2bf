import av
import cv2

from perfnet_tf.video.versions import READER, join_versions, library_versions, reading_difference


def test_versions_name_what_reads_videos():
    versions = library_versions()
    assert versions["reader"] == READER
    assert versions["av"] == av.__version__ and versions["opencv"] == cv2.__version__
    assert versions["libavcodec"].count(".") == 2


def test_versions_of_several_runs_are_joined():
    first, second = {"av": "17.0", "opencv": "5"}, {"av": "18.1", "opencv": "5", "tensorflow": "2"}
    joined = join_versions([first, second, first])
    assert joined == {"av": "17.0, 18.1", "opencv": "5", "tensorflow": "2"}


def test_only_another_reader_makes_a_difference():
    assert reading_difference({}) is None  # of an older version: the same pixels
    assert reading_difference({**library_versions(), "av": "17.0", "libavcodec": "61.0.0"}) is None
    assert reading_difference({"reader": "1, 2"}) is None
    assert "reader 9, here" in reading_difference({"reader": "9"})
