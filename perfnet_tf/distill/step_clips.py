"""The clips of one step on one replica: what networks see of them, and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from perfnet_tf.config import PoseRenderConfig
from perfnet_tf.distill.accumulation import micro_batch
from perfnet_tf.distill.mixup import Labels, MixedLabels, Mixing, mix
from perfnet_tf.input_pipeline.dataset import streams_of
from perfnet_tf.streams import LABEL


class StepClips(NamedTuple):
    """Clips, and what is mixed into them.

    Attributes:
        batch: of `build_dataset`.
        mixing: None leaves the clips as they are.
    """

    batch: Mapping[str, tf.Tensor]
    mixing: Mixing | None = None

    @property
    def labels(self) -> Labels:
        """Of the clips, or of both clips that were mixed."""
        labels = self.batch[LABEL]
        if self.mixing is None:
            return labels
        return MixedLabels(labels, self.mixing.others[LABEL], self.mixing.share)

    def frames(self, stream: str, render: PoseRenderConfig) -> tf.Tensor:
        """What a network of this stream sees; people are drawn before clips are mixed."""
        frames = streams_of(self.batch, [stream], render)[stream]
        if self.mixing is None:
            return frames
        others = streams_of(self.mixing.others, [stream], render)[stream]
        return mix(frames, others, self.mixing.share)

    def part(self, part: tf.Tensor, parts: int) -> StepClips:
        """Micro-batch number `part` of `parts`, see `accumulation.micro_batch`."""

        def cut(batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {name: micro_batch(values, part, parts) for name, values in batch.items()}

        if self.mixing is None:
            return StepClips(cut(self.batch))
        share = micro_batch(self.mixing.share, part, parts)
        return StepClips(cut(self.batch), Mixing(cut(self.mixing.others), share))
