"""Classifies what a camera sees, while it sees it."""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError, check_positive
from perfnet_tf.opencv import cv2
from perfnet_tf.prediction.annotation import draw_answers
from perfnet_tf.prediction.answers import ClipClassifier, PoseSource
from perfnet_tf.prediction.windows import WindowPrediction, hop_frames
from perfnet_tf.recognizers.load import Network
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS
from perfnet_tf.video.sampling import GridResampler
from perfnet_tf.video.writing import VideoFile, check_video_output

_WINDOW = "perfnet predict: q quits"
_QUIT_KEYS = (ord("q"), 27)  # 27: Escape


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def read(self) -> tuple[bool, np.ndarray]:
        """Whether there is a frame, and the frame: uint8 BGR `[height, width, 3]`."""
        ...

    def release(self) -> None:
        """Lets go of the device."""
        ...


def open_camera(number: int) -> cv2.VideoCapture:
    """Opens a camera by its number, the first being 0.

    Raises:
        InputError: there is none of that number, or another program holds it.
    """
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        capture.release()
        raise InputError(
            f"No camera answers. Received: `camera` {number}. Is it plugged in, free, and readable "
            "by you? Others have other numbers: 0, 1, 2."
        )
    return capture


def watch_camera(
    capture: Capture,
    model: Network,
    *,
    clip: ClipConfig | None = None,
    hop: float | None = None,
    output: str | os.PathLike[str] | None = None,
    show: bool = False,
    people: PoseSource | None = None,
    max_seconds: float | None = None,
    top: int = 3,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[WindowPrediction, None, None]:
    """Classifies the last window of a camera's frames again and again, until it or you stop.

    Frames are taken at the rate that the model was trained with, by the clock and not by what the
    camera promises. The network runs while filming: where it is slower than `hop`, windows
    are left out and the picture stays live.

    Args:
        capture: of `open_camera`; released in the end.
        model: what `load` takes.
        clip: what it sees of a window; None takes its own evaluation clip.
        hop: seconds from window to window; None takes half a window.
        output: a `.mp4` for the frames with the running answer on them.
        show: open a window with them, too, in which q or Escape quits.
        max_seconds: stop after this long; None does not stop.
        top: classes on the frames.
        clock: seconds, rising.

    Yields:
        A prediction as soon as it is there, in order; times are seconds from the first frame.

    Raises:
        InputError: a number that is not above 0 and finite, an output that cannot be written, no
            frame from the camera, or no window where `show` needs one.
    """
    try:
        check_positive(hop=hop, max_seconds=max_seconds)
        if output is not None:
            check_video_output(output)
        classifier = ClipClassifier(model, clip, people)
        yield from _watch(capture, classifier, hop, output, show, max_seconds, top, clock)
    finally:
        capture.release()


def _watch(
    capture: Capture,
    classifier: ClipClassifier,
    hop: float | None,
    output: str | os.PathLike[str] | None,
    show: bool,
    max_seconds: float | None,
    top: int,
    clock: Callable[[], float],
) -> Generator[WindowPrediction, None, None]:
    fps = classifier.fps or DEFAULT_FPS
    film = _Film(classifier.span, fps, classifier.short_side)
    step = hop_frames(classifier.span, fps, hop)
    answers: list[tuple[str, float]] = []
    due = classifier.span  # frames that must have been filmed before the next window is classified
    pending: tuple[int, Future[np.ndarray]] | None = None

    def finish(window: tuple[int, Future[np.ndarray]]) -> WindowPrediction:
        last, future = window
        logits = future.result()[0]
        return WindowPrediction(
            (last - classifier.span) / fps, last / fps, logits, labels, classifier.label_kind
        )

    labels = classifier.classes
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(VideoFile(output, fps)) if output is not None else None
        screen = stack.enter_context(_Screen()) if show else None
        # Leaves before the file and the screen do, and waits for the network.
        worker = stack.enter_context(ThreadPoolExecutor(1))
        began: float | None = None
        while True:
            read, frame = capture.read()
            now = clock()
            if not read:
                break
            began = now if began is None else began
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            repeats = film.add(rgb, now - began)
            if pending is not None and pending[1].done():
                prediction = finish(pending)
                pending, answers = None, prediction.top(top)
                yield prediction
            if pending is None and film.length >= due:
                clips = [(film.window(), classifier.indices(classifier.span))]
                pending = film.length, worker.submit(classifier.classify, clips)
                due = film.length + step
            drawn = draw_answers(rgb, answers) if file is not None or screen is not None else rgb
            if file is not None:
                for _ in range(repeats):
                    file.write(drawn)
            if screen is not None and not screen.show(drawn):
                break
            if max_seconds is not None and now - began >= max_seconds:
                break
        if began is None:
            raise InputError("The camera gave no frame. Is another program using it?")
        if pending is not None:
            yield finish(pending)


class _Film:
    """The last frames of a camera, on a grid of times."""

    def __init__(self, span: int, fps: float, short_side: int) -> None:
        self._grid = GridResampler(fps)
        self._frames: collections.deque[np.ndarray] = collections.deque(maxlen=span)
        self._short_side = short_side
        self._last: np.ndarray | None = None

    @property
    def length(self) -> int:
        """Frames on the grid so far."""
        return self._grid.num_counted

    def add(self, frame: np.ndarray, seconds: float) -> int:
        """Takes a frame; returns on how many places of the grid the one before it stood."""
        repeats = self._grid.advance(seconds)
        if self._last is not None:
            self._frames.extend([self._last] * min(repeats, self._frames.maxlen or 0))
        self._last = self._small(frame)
        return repeats

    def window(self) -> np.ndarray:
        """uint8 `[span, height, width, 3]`, once `length` has reached the span."""
        return np.stack(self._frames)

    def _small(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        scale = self._short_side / min(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        return cv2.resize(frame, size, interpolation=smaller)


class _Screen:
    """A window on the desktop; a context manager."""

    def __enter__(self) -> _Screen:
        try:
            cv2.namedWindow(_WINDOW)
        except cv2.error as error:
            raise InputError(
                "This OpenCV cannot open windows: opencv-python-headless has none, or there is no "
                "display. pip install --force-reinstall --no-deps opencv-python brings one that "
                "can. Or leave `show` out; an `output` FILE.mp4 keeps the picture."
            ) from error
        return self

    def show(self, frame: np.ndarray) -> bool:
        """Shows uint8 RGB `[height, width, 3]`; False once the user wants to quit."""
        cv2.imshow(_WINDOW, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in _QUIT_KEYS

    def __exit__(self, *_: Any) -> None:
        cv2.destroyAllWindows()
