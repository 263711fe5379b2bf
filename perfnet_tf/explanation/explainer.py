"""What networks see in a clip, stream by stream, and where they look: the content of `explain`.

The clip is the one that evaluation classifies: central window, central crop, each network's own
size. It comes from prepared records, or from a video whose flow and people are computed here as
`perfnet prepare` would.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.explanation.gradcam import GradCam
from perfnet_tf.input_pipeline.augment import central_view, frame_indices
from perfnet_tf.input_pipeline.video_clip import central_streams
from perfnet_tf.inspection.stored_clip import StoredClip
from perfnet_tf.pose.estimators import make_estimator
from perfnet_tf.pose.keypoint_file import read_keypoints
from perfnet_tf.pose.people import People
from perfnet_tf.preparation.frame_sources import sources_of_frames
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.probabilities import probabilities_of
from perfnet_tf.recognizers.recognizer import DEFAULT_FPS, DEFAULT_SHORT_SIDE, Recognizer
from perfnet_tf.streams import FLOW, RGB, STREAM_TITLES, STREAMS
from perfnet_tf.video.decode import VideoStream, read_video

#: Of a longer video only this much of the beginning is used, as `perfnet prepare` does.
MAX_SECONDS = 300.0


class Footage(Protocol):
    """A video whose frames, flow and people can be had."""

    name: str
    fps: float
    num_frames: int
    #: The right class, where it is known.
    label: str | None

    def sources(self, indices: np.ndarray, streams: Collection[str]) -> dict[str, np.ndarray]:
        """RGB, and what `streams` are made of, of the frames at `indices`."""
        ...


@dataclass(frozen=True, eq=False)
class StreamExplanation:
    """One network's view of a clip.

    Attributes:
        title: what distinguishes it from the other networks: its stream, or `student`; with its
            folder's name where several have one.
        network: its folder's name.
        stream: what it receives.
        endpoint: the feature map that the heat map is made of.
        pictures: uint8 RGB `[frames, height, width, 3]`: its stream, as people look at it.
        backdrop: uint8 RGB, the same shape: what the heat map is laid over: for streams
            that are no pictures, such as flow, the RGB frames.
        heat: float32 `[frames, height, width]` in [0, 1], of the class `explained`.
        explained: the class whose evidence the heat map shows.
        probability: of that class, in [0, 1].
        predicted: the class with the largest logit.
    """

    title: str
    network: str
    stream: str
    endpoint: str
    pictures: np.ndarray
    backdrop: np.ndarray
    heat: np.ndarray
    explained: str
    probability: float
    predicted: str


@dataclass(frozen=True, eq=False)
class ClipExplanation:
    """A clip as each of several networks sees it.

    Attributes:
        name: of the clip or video.
        label: the right class, where it is known; of several with "; " between.
        seconds: float64 `[frames]`: the time of each frame in the video.
        streams: one entry a network, in the order they were given.
    """

    name: str
    label: str | None
    seconds: np.ndarray
    streams: tuple[StreamExplanation, ...]


class Explainer:
    """Explains clips to several networks, each traced once."""

    def __init__(
        self,
        networks: Sequence[Network],
        *,
        endpoint: str | None = None,
        label: str | None = None,
        clip: ClipConfig | None = None,
    ) -> None:
        """Checks what is asked for.

        Args:
            networks: what `load` takes and has layers: runs, exports that can be trained, models
                of `build_model`.
            endpoint: see `GradCam`.
            label: the class to explain; None takes each network's own answer.
            clip: the clip for every network; None takes each network's evaluation clip.

        Raises:
            InputError: no network, one without layers, clips of different lengths, or a network
                without that endpoint or class.
        """
        if not networks:
            raise InputError("Name at least one network to explain. Received: none.")
        runs = [load(network, trainable=True) for network in networks]
        self._runs = runs
        self._label = label
        self._clips = [clip or run.expected_clip() for run in runs]
        windows = {(cut.num_frames, cut.frame_stride) for cut in self._clips}
        if len(windows) > 1:
            raise InputError(
                "Networks side by side must see the same frames. Received clips of (frames, "
                f"stride) {', '.join(map(str, sorted(windows)))}. Give one `clip` for all."
            )
        for run in runs:
            classes = run.known_classes()
            if label is not None and label not in classes:
                raise InputError(
                    f"label must be a class of {run.name}: {', '.join(classes[:10])}"
                    f"{', ...' if len(classes) > 10 else ''}. Received: {label!r}."
                )
        self._titles = _titles(runs)
        self._cams = [GradCam(run.layers(), endpoint) for run in runs]

    @property
    def endpoints(self) -> list[str]:
        """The endpoint of each network."""
        return [cam.endpoint for cam in self._cams]

    def __call__(self, footage: Footage) -> ClipExplanation:
        """Explains the central clip of a video to every network.

        Raises:
            InputError: the video lacks what a network sees.
        """
        window = self._clips[0]
        start = central_view().start
        indices = frame_indices(tf.constant(footage.num_frames), window, start).numpy()
        wanted = {run.stream for run in self._runs}
        sources = footage.sources(indices, wanted)
        return ClipExplanation(
            footage.name,
            footage.label,
            indices / footage.fps,
            tuple(
                self._explain(title, run, cut, cam, sources)
                for title, run, cut, cam in zip(
                    self._titles, self._runs, self._clips, self._cams, strict=True
                )
            ),
        )

    def _explain(
        self,
        title: str,
        run: Recognizer,
        cut: ClipConfig,
        cam: GradCam,
        sources: Mapping[str, np.ndarray],
    ) -> StreamExplanation:
        stream, names = run.stream, run.known_classes()
        seen = _cut_stream(run, sources, cut)
        classes = None if self._label is None else [names.index(self._label)]
        found = cam(seen[stream][None], classes)
        probabilities = probabilities_of(tf.constant(found.logits[0]), run.label_kind).numpy()
        # The same piece of the video, as finely as it is stored.
        large = _cut_stream(run, sources, _at_stored_size(cut, sources[RGB].shape[1:3]))
        rgb = large[RGB].numpy()
        values, largest = large[stream].numpy(), None
        if stream == FLOW:
            speed = np.percentile(np.hypot(values[..., 0], values[..., 1]), 99.5)
            largest = max(1.0, float(speed))
        pictures = STREAMS[stream].draw(values, largest)
        return StreamExplanation(
            title=title,
            network=run.short_name,
            stream=stream,
            endpoint=cam.endpoint,
            pictures=pictures,
            backdrop=pictures if STREAMS[stream].is_picture else rgb,
            heat=found.maps[0],
            explained=names[found.classes[0]],
            probability=float(probabilities[found.classes[0]]),
            predicted=names[int(found.logits[0].argmax())],
        )


class RecordFootage:
    """`Footage` of prepared records."""

    def __init__(self, clip: StoredClip) -> None:
        """Takes a clip of `inspection.stored_clip.open_clip`."""
        self._clip = clip
        self.name = clip.entry.clip_id
        self.fps = clip.fps
        self.num_frames = clip.entry.num_frames
        self.label: str | None = clip.label_name

    def sources(self, indices: np.ndarray, streams: Collection[str]) -> dict[str, np.ndarray]:
        """See `Footage`."""
        missing = sorted(set(streams) - set(self._clip.streams))
        if missing:
            raise InputError(
                f"The records do not hold {' and '.join(missing)}. Explain the runs of "
                f"{', '.join(self._clip.streams)} only, or prepare the videos again with it."
            )
        return self._clip.decode(indices)


class VideoFootage:
    """`Footage` of a video file; flow and people are computed when they are wanted."""

    label: str | None = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fps: float | None = DEFAULT_FPS,
        short_side: int = DEFAULT_SHORT_SIDE,
        square_pixels: bool = True,
        pose: str = "posenet",
        pose_weights: str | None = None,
    ) -> None:
        """Reads the video.

        Args:
            path: the file.
            fps, short_side, square_pixels: of the records that the networks know; `fps` None keeps
                the video's own rate.
            pose: `posenet`, `movenet`, or `keypoints` for a file next to the video.
            pose_weights: see `make_estimator`.

        Raises:
            InputError: no video.
        """
        rate = fps
        if not rate:
            with VideoStream(path) as probe:
                rate = probe.source_fps
        video = read_video(
            path,
            fps=fps,
            short_side=short_side,
            square_pixels=square_pixels,
            max_frames=max(1, round(MAX_SECONDS * rate)),
        )
        self._path = pathlib.Path(path)
        self._frames = video.frames
        self._timestamps = video.timestamps
        self._pose, self._pose_weights = pose, pose_weights
        self.name = self._path.name
        self.fps = fps or video.source_fps
        self.num_frames = len(video.frames)

    def sources(self, indices: np.ndarray, streams: Collection[str]) -> dict[str, np.ndarray]:
        """See `Footage`."""
        return sources_of_frames(
            self._frames, self.fps, streams, indices=indices, find_people=self._find_people
        )

    def _find_people(self, indices: np.ndarray) -> People:
        if self._pose == "keypoints":
            return read_keypoints(self._path, self._timestamps[indices])
        return make_estimator(self._pose, self._pose_weights)(self._frames[indices])


def _titles(runs: Sequence[Recognizer]) -> list[str]:
    titles = [
        "student" if run.config and run.config.distill else STREAM_TITLES[run.stream]
        for run in runs
    ]
    return [
        title if titles.count(title) == 1 else f"{title}, {run.short_name}"
        for title, run in zip(titles, runs, strict=True)
    ]


def _cut_stream(
    run: Recognizer, sources: Mapping[str, np.ndarray], cut: ClipConfig
) -> dict[str, tf.Tensor]:
    """`rgb` and the network's stream of one clip, `[frames, height, width, channels]`."""
    return central_streams(sources, cut, {RGB, run.stream}, run.render)


def _at_stored_size(cut: ClipConfig, stored: Sequence[int]) -> ClipConfig:
    """The clip that shows what `cut` shows with the pixels that are stored, never fewer."""
    height, width = stored
    # What `cut_streams` resizes by: to the short side, or more where the crop would not fit.
    shrunk = max(cut.resized_short_side / min(stored), cut.height / height, cut.width / width)
    if shrunk >= 1:
        return cut
    return dataclasses.replace(
        cut,
        height=min(height, round(cut.height / shrunk)),
        width=min(width, round(cut.width / shrunk)),
        short_side=min(stored),
    )
