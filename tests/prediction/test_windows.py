import gc
import tracemalloc

import cv2
import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.prediction.windows import (
    Segment,
    WindowPrediction,
    mean_logits,
    merge_segments,
    predict_windows,
    slide,
)


def numbers(count):
    return [np.array([number]) for number in range(count)]


def places(count, span, hop):
    return [
        (first, held, window.ravel().tolist())
        for first, held, window in slide(numbers(count), span, hop)
    ]


def test_windows_slide_and_the_last_ends_with_the_video():
    assert places(9, 4, 3) == [
        (0, 4, [0, 1, 2, 3]),
        (3, 4, [3, 4, 5, 6]),
        (5, 4, [5, 6, 7, 8]),
    ]
    assert places(7, 4, 3) == [(0, 4, [0, 1, 2, 3]), (3, 4, [3, 4, 5, 6])]
    assert places(4, 4, 1) == [(0, 4, [0, 1, 2, 3])]


def test_a_hop_longer_than_the_window_leaves_frames_out_but_for_the_end():
    assert [first for first, _, _ in places(20, 3, 8)] == [0, 8, 16, 17]
    assert [first for first, _, _ in places(19, 3, 8)] == [0, 8, 16]


def test_a_short_video_repeats_its_last_frame():
    assert places(2, 4, 1) == [(0, 2, [0, 1, 1, 1])]
    assert places(0, 4, 1) == []


def test_each_part_of_a_video_gets_its_own_answer(brightness_model, dark_then_bright):
    windows = list(predict_windows(dark_then_bright, brightness_model, hop=0.5))
    # 40 frames at 10 a second; a window is 15 frames long, and the last ends with the video.
    assert [(w.start, w.end) for w in windows] == [
        (0, 1.5), (0.5, 2), (1, 2.5), (1.5, 3), (2, 3.5), (2.5, 4),
    ]  # fmt: skip
    answers = [window.top(1)[0] for window in windows]
    assert [answers[i][0] for i in (0, 1, -2, -1)] == ["Dark", "Dark", "Bright", "Bright"]
    assert min(answers[0][1], answers[-1][1]) > 0.99
    segments = merge_segments(windows)
    assert [segment.label for segment in segments] == ["Dark", "Bright"]
    assert (segments[0].start, segments[-1].end) == (0, 4)
    assert segments[0].end == segments[1].start == pytest.approx(2, abs=0.5)
    assert mean_logits(windows).shape == (2,)


def test_batches_do_not_change_the_answers(brightness_model, dark_then_bright):
    one, five = (
        np.stack(
            [w.logits for w in predict_windows(dark_then_bright, brightness_model, batch_size=size)]
        )
        for size in (1, 5)
    )
    np.testing.assert_allclose(one, five, rtol=1e-4, atol=1e-4)


def test_a_part_of_the_video_can_be_asked_for(brightness_model, dark_then_bright):
    windows = list(predict_windows(dark_then_bright, brightness_model, max_seconds=1.0))
    assert [(w.start, w.end) for w in windows] == [(0, 1)]


def test_a_long_video_takes_the_memory_of_a_window(brightness_model, tmp_path):
    path = tmp_path / "long.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (320, 240))
    frame = np.zeros((240, 320, 3), np.uint8)
    for number in range(1500):
        frame[:, number % 300 : number % 300 + 20] = number % 256
        writer.write(frame)
    writer.release()

    gc.collect()
    tracemalloc.start()
    windows = list(predict_windows(path, brightness_model, hop=10.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert windows[-1].end == pytest.approx(150)
    # At 30x40 the whole video is 5.4 MB; a window is 54 kB, and four of them are a batch.
    assert peak < 2.5e6


def test_segments_join_at_half_of_what_windows_share():
    def window(start, end, dark):
        return WindowPrediction(start, end, np.array([dark, 0.0]), ("Dark", "Bright"))

    windows = [window(0, 4, 9.0), window(2, 6, 9.0), window(4, 8, -9.0)]
    dark, bright = merge_segments(windows)
    assert (dark.start, dark.end, dark.label) == (0, 5, "Dark")
    assert (bright.start, bright.end, bright.label) == (5, 8, "Bright")
    assert isinstance(dark, Segment)
    assert dark.probability == pytest.approx(1 / (1 + np.exp(-9)))


@pytest.mark.parametrize("name", ["hop", "max_seconds", "batch_size"])
def test_numbers_that_are_not_positive_are_refused(brightness_model, dark_then_bright, name):
    with pytest.raises(InputError, match=f"`{name}` must be"):
        next(predict_windows(dark_then_bright, brightness_model, **{name: 0}))
