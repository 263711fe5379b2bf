import os
import pathlib
from fractions import Fraction

import av
import browser
import cv2
import numpy as np
import pytest

from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.video import writing
from perfnet_tf.video.writing import VideoFile

HEIGHT, WIDTH = 96, 160
PATCH = 32
COLORS = [
    (0, 0, 0), (64, 64, 64), (128, 128, 128), (192, 192, 192), (255, 255, 255),
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 40), (90, 20, 160),
]  # fmt: skip
POINTS = [(PATCH * (k % 5) + PATCH // 2, PATCH * (1 + k // 5) + PATCH // 2) for k in range(10)]


def picture(index):
    """Above, the frame's number in five bits, white or black; under it, two rows of patches."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(5):
        frame[:PATCH, PATCH * bit : PATCH * (bit + 1)] = 255 * (index >> bit & 1)
    for (x, y), color in zip(POINTS, COLORS, strict=True):
        frame[y - PATCH // 2 : y + PATCH // 2, x - PATCH // 2 : x + PATCH // 2] = color
    return frame


def frame_number(frame):
    bits = frame[PATCH // 2, PATCH // 2 :: PATCH].mean(axis=-1) > 128
    return int(np.sum(bits << np.arange(5)))


def write(path, frames, fps=25.0):
    with VideoFile(path, fps) as file:
        for frame in frames:
            file.write(frame)
    return path


def read(path):
    """Frames and their times in seconds."""
    with av.open(f"file:{path}") as container:
        frames = list(container.decode(video=0))
    return np.stack([f.to_ndarray(format="rgb24") for f in frames]), [f.time for f in frames]


def write_mpeg4(path, frames):
    """What OpenCV writes as `mp4v`."""
    size = frames[0].shape[1::-1]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, size)
    for frame in frames:
        writer.write(frame[..., ::-1])
    writer.release()
    return path


def test_a_browser_plays_it_in_the_right_colours(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(k) for k in range(30)])
    bits = [(PATCH * bit + PATCH // 2, PATCH // 2) for bit in range(5)]
    shown = browser.play(path, seconds=17.5 / 25, points=[*POINTS, *bits])
    assert (shown.width, shown.height) == (WIDTH, HEIGHT)
    assert shown.duration == pytest.approx(30 / 25, abs=0.002)
    np.testing.assert_allclose(shown.colors[: len(COLORS)], COLORS, atol=3)
    assert [color[0] > 128 for color in shown.colors[len(COLORS) :]] == [1, 0, 0, 0, 1]  # 17


def test_a_browser_does_not_play_mpeg4(tmp_path):
    path = write_mpeg4(tmp_path / "a.mp4", [picture(k) for k in range(5)])
    with pytest.raises(browser.DoesNotPlay, match="no supported streams"):
        browser.play(path, seconds=0.1)


def test_colours_read_back_with_and_without_regard_to_what_the_file_says_of_them(tmp_path):
    path = write(tmp_path / "a.mp4", [picture(k) for k in range(5)])
    by_tags = read(path)[0][2]
    blind = cv2.VideoCapture(str(path)).read()[1][..., ::-1]
    for frame in (by_tags, blind):
        np.testing.assert_allclose([frame[y, x] for x, y in POINTS], COLORS, atol=3)
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        assert (codec.colorspace, codec.color_range, codec.color_primaries) == (6, 1, 1)


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (29.968, Fraction(29968, 1000)),
        (1 / 0.08, Fraction(25, 2)),
        (Fraction(7, 3), Fraction(7, 3)),
        (0.1, Fraction(1, 10)),
    ],
)
@pytest.mark.parametrize("num_frames", [1, 31])
def test_every_frame_has_its_time(tmp_path, fps, rate, num_frames):
    path = write(tmp_path / "a.mp4", (picture(k) for k in range(num_frames)), fps)
    frames, times = read(path)
    assert [frame_number(frame) for frame in frames] == list(range(num_frames))
    np.testing.assert_allclose(times, [float(k / rate) for k in range(num_frames)], atol=1e-3)
    with av.open(str(path)) as container:
        assert container.streams.video[0].average_rate == rate
        assert container.duration / 1e6 == pytest.approx(float(num_frames / rate), abs=2e-3)
        assert container.streams.video[0].start_time == 0


@pytest.mark.parametrize("height", [HEIGHT, 1000])  # of one thread, and of several
def test_the_same_frames_give_the_same_bytes(tmp_path, height):
    noise = np.random.default_rng(0).integers(0, 256, (4, height, 64, 3), np.uint8)
    frames = [noise[k % 4] for k in range(9)]
    first, second = (write(tmp_path / name, frames).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


def test_playing_can_start_before_the_end_is_there(tmp_path):
    content = write(tmp_path / "a.mp4", [picture(0)]).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize(
    ("size", "written"),
    [((33, 47), (32, 46)), ((1, 7), (2, 6)), ((6, 1), (6, 2)), ((1, 1), (2, 2))],
)
def test_odd_sizes_lose_a_row_or_column_and_single_ones_are_doubled(tmp_path, size, written):
    frame = np.full((*size, 3), 80, np.uint8)
    frame[: written[0], : written[1]][-1:, -1:] = 90
    frames, _ = read(write(tmp_path / "a.mp4", [frame] * 3))
    assert frames.shape == (3, *written, 3)
    assert abs(frames.astype(int) - 85).max() < 12


@pytest.mark.parametrize("name", ["a:b.mp4", "-a.mp4", "%d.mp4", "größe 篮.mp4", "\udce9.mp4"])
def test_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(pathlib.Path(name), [picture(k) for k in range(3)])
    assert os.listdir() == [name]
    assert len(read(name)[0]) == 3


def test_frames_of_two_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"one size, here \(96, 160\). Received: \(96, 150\)"):
        write(tmp_path / "a.mp4", [picture(0), picture(1)[:, :150]])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(tmp_path):
    (tmp_path / "a.partial.mp4").symlink_to("/dev/full")
    with pytest.raises(FailureError, match="a.mp4 cannot be written: No space left on device"):
        write(tmp_path / "a.mp4", [picture(0)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_cannot_be_is_refused(tmp_path, fps):
    with pytest.raises(InputError, match="`fps` must be greater than 0"):
        VideoFile(tmp_path / "a.mp4", fps)


def test_without_x264_a_browser_still_plays_it(tmp_path, monkeypatch):
    monkeypatch.delitem(writing._ENCODERS, "libx264")
    path = write(tmp_path / "a.mp4", [picture(k) for k in range(30)])
    frames, times = read(path)
    assert [frame_number(frame) for frame in frames] == list(range(30))
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-3)
    shown = browser.play(path, seconds=0.5, points=POINTS)
    np.testing.assert_allclose(shown.colors, COLORS, atol=4)


def test_an_ffmpeg_without_encoders_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "_ENCODERS", {"libx999": {}})
    with pytest.raises(FailureError, match="no encoder among libx999"):
        write(tmp_path / "a.mp4", [picture(0)])
