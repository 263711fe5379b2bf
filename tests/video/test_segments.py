"""Parts of videos: the frames say their numbers."""

import cv2
import numpy as np
import pytest
from painted_frames import HEIGHT, WIDTH, numbers, paint, write_lossless

from perfnet_tf.video.decode import VideoError, read_video
from perfnet_tf.video.segments import read_segment


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_lossless(tmp_path_factory.mktemp("video") / "clip.avi", 50)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 0.4, range(10)),
        (0.4, 0.8, range(10, 20)),
        (0.41, 0.79, range(11, 20)),  # frame 10 is shown before 0.41 s begins
        (0.4004, 0.8004, range(10, 20)),  # within a millisecond
        (1.6, 2.0, range(40, 50)),
        (0.5, 0.53, [13]),
    ],
)
def test_the_frames_between_two_times(video, start, end, expected):
    segment, ends_early = read_segment(video, start, end)
    assert numbers(segment.frames) == list(expected) and not ends_early
    np.testing.assert_allclose(segment.timestamps, np.array(expected) / 25)
    assert segment.source_fps == 25 and not segment.stopped


@pytest.mark.parametrize("fps", [10, 25, 40])
def test_they_are_those_of_the_whole_video_at_that_rate(video, fps):
    whole = read_video(video, fps=fps, short_side=32)
    segment, _ = read_segment(video, 0.5, 1.3, fps=fps, short_side=32)
    chosen = (whole.timestamps >= 0.499) & (whole.timestamps < 1.299)
    np.testing.assert_array_equal(segment.frames, whole.frames[chosen])
    np.testing.assert_allclose(segment.timestamps, whole.timestamps[chosen])
    np.testing.assert_array_equal(segment.source_indices, whole.source_indices[chosen])


def test_segments_after_each_other_share_no_frame_and_lack_none(video):
    ends = [0, 0.33, 0.7, 1.234, 2]
    found = [read_segment(video, a, b)[0].frames for a, b in zip(ends, ends[1:], strict=False)]
    assert [number for frames in found for number in numbers(frames)] == list(range(50))


def test_limits(video):
    segment, _ = read_segment(video, 0.4, 1.6, max_frames=5)
    assert numbers(segment.frames) == [10, 11, 12, 13, 14] and segment.stopped
    segment, _ = read_segment(video, 0.4, 1.6, max_bytes=3 * 3 * HEIGHT * WIDTH)
    assert numbers(segment.frames) == [10, 11, 12] and segment.stopped
    segment, _ = read_segment(video, 0.4, 0.6, max_frames=5)
    assert not segment.stopped


def test_a_video_that_ends_before_the_segment_does(video):
    segment, ends_early = read_segment(video, 1.6, 3)
    assert numbers(segment.frames) == list(range(40, 50)) and ends_early
    assert not read_segment(video, 0, 2.1)[1]  # annotations round
    with pytest.raises(VideoError, match="has none from 2.5 to 3 s"):
        read_segment(video, 2.5, 3)


def test_a_codec_whose_frames_depend_on_others(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 25, (WIDTH, HEIGHT))
    for number in range(50):
        writer.write(paint(number)[..., ::-1])
    writer.release()
    assert numbers(read_segment(path, 1.24, 1.44)[0].frames) == [31, 32, 33, 34, 35]
