"""The flow of a clip out of a folder of flow that was computed before (`flow.folder`)."""

from __future__ import annotations

import pathlib

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.flow.encoding import encode_flow
from perfnet_tf.flow.folder import FlowFolder, StoredFlow
from perfnet_tf.flow.stored_files import resize_flow
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.video.decode import Video

#: Frames at a time: float flow of a whole clip would be 8 times its RGB.
_CHUNK = 64


class FolderFlow:
    """Encodes the flow of clips as records store it."""

    def __init__(self, config: PrepareConfig) -> None:
        """Names the folder.

        Args:
            config: settings with `flow="folder"`.
        """
        assert config.flow_path is not None
        self._folder = FlowFolder(
            config.flow_path, bound=config.flow_bound_of_files, zero=config.flow_zero
        )
        self._config = config

    def __call__(self, clip: SourceClip, video: Video) -> tuple[list[bytes], bool]:
        """One PNG per frame, and whether the flow was of another size.

        Flow of another size is resampled, and its vectors are scaled with it. Where the flow has a
        frame less than the clip, the last repeats the one before it.

        Raises:
            InputError: there is none, it is damaged, or it is not that of the stored frames.
        """
        stored = self._folder.find(_names(clip))
        if stored is None:
            raise InputError(f"There is no flow {self._folder.folder / clip.clip_id}.")
        self._check_length(stored, video)
        num_frames, height, width, _ = video.frames.shape
        images: list[bytes] = []
        rescaled = False
        for start in range(0, min(num_frames, stored.num_frames), _CHUNK):
            flow = stored.read(start, min(start + _CHUNK, num_frames, stored.num_frames))
            rescaled = rescaled or flow.shape[1:3] != (height, width)
            images += encode_flow(resize_flow(flow, height, width), self._config.flow_bound)
        return [*images, *images[len(images) - 1 :]][:num_frames], rescaled

    def _check_length(self, stored: StoredFlow, video: Video) -> None:
        """Raises `InputError` unless there is flow for each stored frame but perhaps the last."""
        frames, flow = len(video.frames), stored.num_frames
        first = int(video.source_indices[0])
        own_rate = np.array_equal(video.source_indices, np.arange(first, first + frames))
        # Of a video that was stopped at a limit more flow is there than frames were read.
        if frames - 1 <= flow <= frames or (video.stopped and own_rate and flow > frames):
            return
        rate = self._config.fps or video.source_fps
        remedy = "Compute it again."
        if not own_rate:
            remedy = (
                f"The video has {video.num_source_frames} at {video.source_fps:.4g} per second: "
                "flow of its own frames needs records of its own rate (--fps=0)."
            )
        raise InputError(
            "Flow has as many frames as the clip, or one less. Received: "
            f"{stored.path} with {flow} for {frames} frames at {rate:.4g} per second. {remedy}"
        )


def _names(clip: SourceClip) -> list[str]:
    """What a clip's flow may be called."""
    name = clip.clip_id.rpartition("/")[2]
    video = pathlib.Path(clip.path)
    return [
        clip.clip_id,
        f"{clip.label_name}/{name}",
        f"{video.parent.name}/{name}",
        name,
    ]
