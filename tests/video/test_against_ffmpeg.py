"""Videos of a hundred kinds: the frames and times that ffmpeg itself decodes."""

import shutil

import numpy as np
import pytest
from ffmpeg_videos import CASES, decode_by_ffmpeg

from perfnet_tf.video.decode import read_video

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
        reason="needs the programs ffmpeg and ffprobe (apt-get install ffmpeg)",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_frames_and_times_are_those_of_ffmpeg(tmp_path, case):
    try:
        path = case.write(tmp_path)
    except RuntimeError as error:
        pytest.skip(f"this ffmpeg does not make it: {error}")
    video = read_video(path)
    frames, times = decode_by_ffmpeg(path, video.frames.shape[1:3], case.shown_by)
    assert len(video.frames) == len(frames) == (case.num_frames or len(frames))
    if not np.isnan(times).any():  # elementary streams state no times
        np.testing.assert_allclose(video.timestamps, times, atol=1e-3)
    assert not video.truncated
    assert video.deinterlaced == ("bwdif" in case.shown_by)
    if case.tolerance is not None:
        differences = np.array([[_difference(a, b) for b in frames] for a in video.frames])
        assert differences.diagonal().max() < case.tolerance
        assert differences.argmin(axis=1).tolist() == list(range(len(frames)))


def _difference(first, second):
    return np.abs(first.astype(np.int16) - second).mean()
