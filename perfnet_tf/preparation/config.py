"""Settings of `perfnet prepare`."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from dataclasses import dataclass
from typing import Any

from perfnet_tf import storage
from perfnet_tf.errors import InputError, check_choice, check_positive, check_whole
from perfnet_tf.flow.methods import FLOW_METHODS
from perfnet_tf.label_kinds import LABEL_KINDS, SINGLE_LABEL
from perfnet_tf.pose.estimators import POSE_ESTIMATORS, estimator_weights
from perfnet_tf.pose.keypoint_formats import KEYPOINT_FORMATS
from perfnet_tf.records.validation import MAX_FLOW_BOUND, MAX_PEOPLE, MAX_SIDE
from perfnet_tf.streams import SOURCES

#: Seconds per clip. 300 s of video take a quarter of that on a slow core; a decoder that hangs
#: never ends.
CLIP_TIME_LIMIT = 3600.0


@dataclass(frozen=True)
class PrepareConfig:
    """Everything that decides the records but the videos themselves.

    Attributes:
        name: of the dataset.
        fps: stored frames per second (PERF-Net Sec. 4: 25); None keeps each video's own.
        fps_of_frames: frames per second of clips that are folders of pictures; None: there are
            none.
        short_side: shorter side of the stored frames, pixels (PERF-Net Sec. 4: 256).
        pose: `posenet` (PERF-Net Sec. 3.1), `movenet` or an estimator that a plugin registers;
            a format of `keypoints` (`pose.keypoint_formats`): `pyskl`, `openpose`, `alphapose`,
            `mediapipe`, `ultralytics`, `mmpose`, `coco`, or `keypoints` (`pose.keypoint_file`);
            `none`.
        pose_weights: folder of the estimator's weights, or the name of a model in the cache; None
            takes the model that the cache holds. The folder, once the settings are made.
        keypoints: file or folder of the keypoints, where `pose` is a format of them; None with
            `pose="keypoints"` reads the file next to each video.
        fps_of_keypoints: frames per second at which the keypoints were extracted, the first at the
            beginning of the video; None: there are those of each of its frames. Files that state
            their rate have their own.
        pose_every: the estimator sees every so many frames, and the last one; people move in
            straight lines between (`pose.interpolation`).
        max_people: people stored a frame. Paper silent; our choice.
        flow: `tvl1` (PERF-Net Sec. 3.2, OpenCV's parameters), `tvl1_fast` (`TVL1Params.fast`),
            `dis` (another method: much faster, coarser), one that a plugin registers, `none`;
            `folder` takes flow that was computed before, out of `flow_path` (`flow.folder`).
        flow_bound: pixels per frame of the largest stored flow (I3D's 20).
        flow_path: folder of the flow, for `flow="folder"`.
        flow_bound_of_files: pixels per frame at the ends of 8-bit pictures of flow.
        flow_zero: the level of no flow in them.
        max_seconds: only this much of the beginning of each video; a clip is held in memory as a
            whole, at 25 frames per second and 256 x 341 pixels some 6.5 MB for each second. What is
            over `MAX_CLIP_BYTES`, or `MAX_RECORD_BYTES` (`records.schema`), is left out, too.
        clips_per_shard: the most clips in one TFRecord file.
        square_pixels: pixels that are not square (DV, DVD) are stretched to the shape in which
            players show them; False keeps the stored shape.
        sources: names of registered sources (`streams.register_source`) to compute and store.
        label_kind: `single` or `multi` (`label_kinds`), as the dataset's lists have it.
    """

    name: str
    fps: float | None = 25.0
    fps_of_frames: float | None = None
    short_side: int = 256
    pose: str = "posenet"
    pose_weights: str | None = None
    keypoints: str | None = None
    fps_of_keypoints: float | None = None
    pose_every: int = 1
    max_people: int = 5
    flow: str = "tvl1"
    flow_bound: float = 20.0
    flow_path: str | None = None
    flow_bound_of_files: float = 20.0
    flow_zero: float = 128.0
    max_seconds: float = 300.0
    clips_per_shard: int = 64
    square_pixels: bool = True
    sources: tuple[str, ...] = ()
    label_kind: str = SINGLE_LABEL

    def __post_init__(self) -> None:
        check_choice("pose", self.pose, (*POSE_ESTIMATORS, *KEYPOINT_FORMATS, "none"))
        check_choice("flow", self.flow, (*FLOW_METHODS, "folder", "none"))
        check_choice("label_kind", self.label_kind, LABEL_KINDS)
        object.__setattr__(self, "sources", tuple(self.sources))  # lists come from JSON
        registered = [name for name, source in SOURCES.items() if source.option == "sources"]
        for name in self.sources:
            if not registered:
                raise InputError(
                    f"sources names registered ones, and there are none. Received: {name!r}. "
                    "Name the plugin that registers it."
                )
            check_choice("sources", name, registered)
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InputError(f"fps must be in (0, 1000]. Received: {self.fps!r}.")
        if self.fps_of_frames is not None and not 0 < self.fps_of_frames <= 1000:
            raise InputError(
                f"`fps_of_frames` must be in (0, 1000]. Received: {self.fps_of_frames!r}."
            )
        # What is larger would be prepared, and the finished dataset refused by every reader.
        for name, least, most in (("short_side", 16, MAX_SIDE), ("max_people", 1, MAX_PEOPLE)):
            if not least <= getattr(self, name) <= most:
                raise InputError(
                    f"`{name}` must be from {least} to {most}. Received: {getattr(self, name)!r}."
                )
        if not 0 < self.flow_bound <= MAX_FLOW_BOUND:
            raise InputError(
                f"`flow_bound` must be above 0 and at most {MAX_FLOW_BOUND:g}. "
                f"Received: {self.flow_bound!r}."
            )
        check_whole(clips_per_shard=self.clips_per_shard)
        check_positive(flow_bound_of_files=self.flow_bound_of_files, max_seconds=self.max_seconds)
        self._check_flow_folder()
        check_whole(pose_every=self.pose_every)
        if self.pose_every > 1 and self.pose not in POSE_ESTIMATORS:
            raise InputError(
                "`pose_every` is for a pose that is estimated. Received: "
                f"{self.pose_every} with pose={self.pose!r}. Leave it out."
            )
        given = KEYPOINT_FORMATS.get(self.pose)
        if self.keypoints is not None and given is None:
            raise InputError(
                f"`keypoints` needs a `pose` that reads them: {', '.join(KEYPOINT_FORMATS)}. "
                f"Received: pose={self.pose!r}."
            )
        if self.fps_of_keypoints is not None:
            if given is None:
                raise InputError(
                    "`fps_of_keypoints` is for keypoints that are there. Received: "
                    f"{self.fps_of_keypoints:g} with pose={self.pose!r}. Leave it out."
                )
            if not 0 < self.fps_of_keypoints <= 1000:
                raise InputError(
                    f"`fps_of_keypoints` must be in (0, 1000]. Received: {self.fps_of_keypoints!r}."
                )
        if self.keypoints is None and given is not None and given.needs_path:
            raise InputError(f"`pose={self.pose}` needs `keypoints`: {given.content}.")
        if self.pose in POSE_ESTIMATORS:
            if storage.is_bucket(self.pose_weights):
                return
            weights = estimator_weights(self.pose, self.pose_weights)
            object.__setattr__(self, "pose_weights", None if weights is None else str(weights))

    def _check_flow_folder(self) -> None:
        if not 0 <= self.flow_zero <= 255:
            raise InputError(f"`flow_zero` must be from 0 to 255. Received: {self.flow_zero!r}.")
        if self.flow != "folder":
            if self.flow_path is not None:
                raise InputError(
                    f"`flow_path` is for flow=folder. Received: flow={self.flow} and "
                    f"{self.flow_path}. Give `flow=folder`, or leave the path out."
                )
        elif self.flow_path is None or not pathlib.Path(self.flow_path).is_dir():
            raise InputError(
                "`flow_path` must be a folder of optical flow for `flow=folder`. "
                f"Received: {self.flow_path or 'none'}."
            )

    def identity(self) -> dict[str, Any]:
        """The settings that two runs must share to be one preparation.

        Weights count by their content, not by their path.

        Raises:
            InputError: `pose_weights` does not exist.
        """
        values = dataclasses.asdict(self)
        path = values.pop("pose_weights")
        del values["flow_path"]
        if self.fps_of_frames is None:
            del values["fps_of_frames"]
        if self.flow != "folder":
            del values["flow_bound_of_files"], values["flow_zero"]
        if not self.sources:  # so that a preparation without any can be resumed by any version
            del values["sources"]
        if self.label_kind == SINGLE_LABEL:
            del values["label_kind"]
        if self.square_pixels:
            del values["square_pixels"]
        for name in ("keypoints", "fps_of_keypoints"):
            if values[name] is None:
                del values[name]
        if self.pose in POSE_ESTIMATORS and path is not None:
            values["pose_weights_sha256"] = _digest(path)
        return values


def _digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        files = sorted(storage.list_files(path), key=lambda file: pathlib.PurePath(file.path))
        for name in [file.path for file in files] or [path]:
            content = storage.read_bytes(name)
            digest.update(pathlib.PurePath(name).name.encode() + b"\0" + content)
    except OSError as error:
        raise InputError(
            f"pose_weights must be a folder of weights. Received: {path} ({error.strerror})."
        ) from error
    return digest.hexdigest()
