"""Parts of long videos: what is skipped changes nothing."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from written_videos import numbered, write

from perfnet_tf.video import segments
from perfnet_tf.video.segments import read_segment
from perfnet_tf.video.skipping import plan_skip

FRAMES = 320
X264 = {"preset": "ultrafast", "x264-params": "keyint=48:min-keyint=48:scenecut=0:bframes=3"}


def pictures(frames=FRAMES):
    random = np.random.default_rng(4)
    noise = random.integers(0, 60, (48, 80, 3)).astype(np.uint8)
    for number in range(frames):
        yield np.roll(noise, number, axis=1) // 2 + numbered(number % 64) // 2


def widen(stream):
    stream.codec_context.sample_aspect_ratio = Fraction(4, 3)


def make(folder, name, **options):
    return write(folder / name, list(pictures()), **options)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("skipping")
    uneven = np.cumsum(np.random.default_rng(1).choice([0.031, 0.037, 0.032, 0.05], FRAMES))
    interlaced = X264 | {"x264-params": X264["x264-params"] + ":tff=1"}
    open_gop = X264 | {"x264-params": X264["x264-params"] + ":open-gop=1"}
    return {
        "b_frames": make(folder, "b.mp4", options=X264),
        "open_gop": make(folder, "o.mp4", options=open_gop),
        "matroska": make(folder, "m.mkv", options=X264, rate=Fraction(30000, 1001)),
        "uneven": make(
            folder, "u.mp4", options=X264, times=uneven.tolist(), time_base=Fraction(1, 1000)
        ),
        "wide_pixels": make(folder, "w.mp4", options=X264, on_stream=widen),
        "xvid": make(folder, "x.avi", codec="mpeg4"),
        "one_key_frame": make(folder, "k.mp4", options={"x264-params": "keyint=999:scenecut=0"}),
        "interlaced": make(folder, "i.mp4", options=interlaced, fields="tff"),
    }


SKIPPED = {"b_frames", "open_gop", "matroska", "uneven", "wide_pixels"}
NAMES = [*sorted(SKIPPED), "xvid", "one_key_frame", "interlaced"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fps", [None, 10, 25, 40])
def test_frames_are_those_of_a_decode_from_the_start(videos, monkeypatch, name, fps):
    path = videos[name]
    parts = [(3.1, 3.9), (4.0, 4.04), (7.68, 8.2), (9.9, 13.5)]
    found = [read_segment(path, *part, fps=fps, short_side=32) for part in parts]
    monkeypatch.setattr(segments, "plan_skip", lambda *_: None)
    for part, (video, ends_early) in zip(parts, found, strict=True):
        whole, expected_end = read_segment(path, *part, fps=fps, short_side=32)
        for field in ("frames", "timestamps", "source_indices"):
            np.testing.assert_array_equal(getattr(video, field), getattr(whole, field))
        assert video.num_source_frames == whole.num_source_frames
        assert (video.source_fps, video.deinterlaced) == (whole.source_fps, whole.deinterlaced)
        assert ends_early == expected_end


@pytest.mark.parametrize("name", NAMES)
def test_what_is_skipped(videos, name):
    skip = plan_skip(videos[name], 8.0)
    assert (skip is not None) == (name in SKIPPED)
    if skip is not None:
        assert len(skip.before) % 48 == 0 and len(skip.before) >= 144
    assert plan_skip(videos[name], 0.5) is None


def test_a_plan_that_the_file_does_not_keep_is_dropped(videos, monkeypatch):
    path = videos["b_frames"]
    expected = read_segment(path, 8.0, 9.0)[0]
    skip = plan_skip(path, 7.5)
    wrong = [
        dataclasses.replace(skip, expected=(skip.expected[1] + 1, *skip.expected[1:])),
        dataclasses.replace(skip, key=skip.key + 1),
        dataclasses.replace(skip, expected=(*skip.expected, 10**9)),
    ]
    for plan in wrong:
        monkeypatch.setattr(segments, "plan_skip", lambda *_, plan=plan: plan)
        np.testing.assert_array_equal(read_segment(path, 8.0, 9.0)[0].frames, expected.frames)


def test_the_end_of_a_video(videos):
    segment, ends_early = read_segment(videos["b_frames"], 12.0, 20.0)
    assert len(segment.frames) == 20 and ends_early
    np.testing.assert_allclose(segment.timestamps[-1], 319 / 25)
