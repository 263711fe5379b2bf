"""A network small enough that a test's time goes into what it tests."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from perfnet_tf.config import ModelConfig
from perfnet_tf.models.layers import BatchNormOptions, ConvUnit
from perfnet_tf.models.video_model import VideoModel


class TinyNetwork(VideoModel):
    """One convolution; with `batch_norm=False` replicas compute what one device computes."""

    def __init__(self, num_classes: int, *, batch_norm: bool = True, **kwargs: Any) -> None:
        super().__init__(num_classes, **kwargs)
        self.unit = ConvUnit(
            8,
            3,
            2,
            batch_norm=BatchNormOptions(0.9, 1e-3) if batch_norm else None,
            weight_decay=self.weight_decay,
        )

    @property
    def backbone(self) -> str:
        return "s3d_g"

    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        return {"unit": self.unit(inputs, training=training)}


def build_tiny(config: ModelConfig, num_classes: int, stream: str = "rgb") -> VideoModel:
    """In place of `build_from_config`: reads `options`, dropout and decay, not the backbone."""
    return TinyNetwork(
        num_classes,
        stream=stream,
        dropout_rate=config.dropout_rate,
        weight_decay=config.weight_decay,
        **config.options,
    ).build_for_stream()
