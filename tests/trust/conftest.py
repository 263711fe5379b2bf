"""Videos to prepare."""

import pytest
from small_clips import CLASSES, write_video


@pytest.fixture
def videos(tmp_path):
    """Two classes of three videos, of 6 frames of 64x48."""
    for name in CLASSES:
        for number in range(3):
            write_video(tmp_path / "videos" / name / f"clip{number}.mp4", frames=6, seed=number)
    return tmp_path / "videos"
