import concurrent.futures
import itertools
import time

import numpy as np
import pytest

from perfnet_tf.errors import InputError
from perfnet_tf.prediction import camera as camera_module
from perfnet_tf.prediction.camera import open_camera, watch_camera
from perfnet_tf.video.decode import read_video


class FakeCamera:
    """40 frames: black, then from the 21st on white; `wait` gives the network time between them."""

    def __init__(self, num_frames=40, wait=lambda: time.sleep(0.02)):
        self._numbers = itertools.count()
        self._num_frames = num_frames
        self._wait = wait
        self.released = False

    def read(self):
        number = next(self._numbers)
        self._wait()
        level = 250 if number >= 20 else 5
        return number < self._num_frames, np.full((60, 80, 3), level, np.uint8)

    def release(self):
        self.released = True


def ticking(step):
    """A clock that goes on by `step` seconds with each frame."""
    return itertools.count(start=7.0, step=step).__next__


@pytest.fixture
def network_is_done(monkeypatch):
    """A function that waits for what the network was given: a busy machine needs longer."""
    given = []

    class Watched(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *arguments, **options):
            given.append(super().submit(*arguments, **options))
            return given[-1]

    monkeypatch.setattr(camera_module, "ThreadPoolExecutor", Watched)
    return lambda: concurrent.futures.wait(given, timeout=60)


def test_a_camera_is_answered_while_it_films(brightness_model, tmp_path, network_is_done):
    camera = FakeCamera(wait=network_is_done)
    windows = list(
        watch_camera(
            camera,
            brightness_model,
            hop=0.1,
            output=tmp_path / "film.mp4",
            clock=ticking(0.2),  # half of the model's 10 frames per second: each stands twice
        )
    )
    assert camera.released
    assert len(windows) >= 5
    assert windows[0].top(1)[0][0] == "Dark"
    assert windows[-1].top(1)[0][0] == "Bright"
    assert all(w.end - w.start == pytest.approx(1.5) for w in windows)
    assert [w.end for w in windows] == sorted(w.end for w in windows)
    film = read_video(tmp_path / "film.mp4")
    assert film.source_fps == 10
    assert len(film.frames) == pytest.approx(78, abs=2)  # 39 intervals of 0.2 s
    assert film.frames[0].mean() < 40
    assert film.frames[-1].mean() > 150


def test_it_stops_in_time(brightness_model):
    camera = FakeCamera(num_frames=10**6)
    list(watch_camera(camera, brightness_model, max_seconds=2.0, clock=ticking(0.1)))
    assert camera.released


def test_closing_keeps_the_film_and_frees_the_camera(brightness_model, tmp_path):
    camera = FakeCamera(num_frames=10**6)
    windows = watch_camera(
        camera, brightness_model, output=tmp_path / "film.mp4", clock=ticking(0.1)
    )
    next(windows)
    windows.close()
    assert camera.released
    assert len(read_video(tmp_path / "film.mp4").frames) >= 15


def test_a_camera_without_frames_is_refused(brightness_model):
    camera = FakeCamera(num_frames=0)
    with pytest.raises(InputError, match="gave no frame"):
        list(watch_camera(camera, brightness_model))
    assert camera.released
    with pytest.raises(InputError, match="`hop` must be"):
        list(watch_camera(FakeCamera(), brightness_model, hop=-1))


def test_a_number_without_a_camera_is_refused():
    with pytest.raises(InputError, match="`camera` 9876"):
        open_camera(9876)
