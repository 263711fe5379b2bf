"""Small videos, and records of them."""

import pytest
from small_clips import CLASSES, write_video
from small_preparation import prepare


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Two classes of four videos, of 6 to 10 frames of 64x48."""
    folder = tmp_path_factory.mktemp("videos")
    for label, name in enumerate(CLASSES):
        for number in range(4):
            path = folder / name / f"clip{number}.mp4"
            write_video(path, frames=6 + number + label, seed=number)
    return folder


@pytest.fixture(scope="session")
def prepared(videos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output") / "records"
    prepare(videos, folder)
    return folder
