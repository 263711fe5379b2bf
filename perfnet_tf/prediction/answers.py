"""What a model says, and how it wants its frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.input_pipeline.augment import central_view, cut_streams
from perfnet_tf.saved_model.loading import LoadedModel
from perfnet_tf.streams import RGB

#: Where a model does not know the rate and size of its training records: PERF-Net Sec. 4.
DEFAULT_FPS = 25.0
DEFAULT_SHORT_SIDE = 256


def top_classes(logits: np.ndarray, labels: Sequence[str], count: int) -> list[tuple[str, float]]:
    """(class, probability in [0, 1]) of the likeliest classes, the likeliest first."""
    exponentials = np.exp(logits - logits.max(), dtype=np.float64)
    order = np.argsort(-logits, kind="stable")[:count]
    probabilities = exponentials / exponentials.sum()
    return [(labels[index], float(probabilities[index])) for index in order]


@dataclass(frozen=True, eq=False)
class Recognizer:
    """A model with the clip that it sees.

    Attributes:
        model: an RGB model.
        clip: what it sees of a window.
        fps: frames a second that it was trained with; None: each video's own.
        short_side: pixels of the shorter side of its training records.
    """

    model: LoadedModel
    clip: ClipConfig
    fps: float | None
    short_side: int

    @classmethod
    def of(cls, model: LoadedModel, clip: ClipConfig | None = None) -> Recognizer:
        """A recogniser with the model's own evaluation clip, or another.

        Raises:
            InputError: a flow or pose model.
        """
        if model.stream != RGB:
            raise InputError(
                "Only RGB models see a video as it is. "
                f"Received: {model.path}, a {model.stream} model. "
                "Export the student that was distilled from it, or use perfnet evaluate."
            )
        dataset = model.info.dataset
        return cls(
            model,
            clip or model.info.experiment.resolved_eval_clip,
            dataset.get("fps", DEFAULT_FPS),
            dataset.get("short_side", DEFAULT_SHORT_SIDE),
        )

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.model.labels

    @property
    def span(self) -> int:
        """Frames from the first to the last that a clip takes."""
        return (self.clip.num_frames - 1) * self.clip.frame_stride + 1

    def classify(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of clips that have the model's rate and number of frames.

        Args:
            clips: uint8 RGB `[frames, height, width, 3]` each, of one size; cut centrally here.

        Returns:
            float32 `[clips, classes]`.
        """
        view = central_view()
        cut = [
            cut_streams({RGB: tf.convert_to_tensor(frames)}, self.clip, view) for frames in clips
        ]
        return self.model(tf.stack([streams[RGB] for streams in cut])).numpy()
