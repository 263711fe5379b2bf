"""The backbone `tiny`, so small that a test's time goes into what it tests; also a plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.backbones import register_backbone
from perfnet_tf.config import ModelConfig
from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.layers import ConvUnit
from perfnet_tf.models.rematerialization import call_block
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

    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        return {"unit": call_block(self.unit, inputs, training=training, name="unit")}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "batch_norm": self.unit.norm is not None}


register_backbone("tiny", TinyNetwork)
#: For configurations of tests: `ExperimentConfig(model=TINY)`.
TINY = ModelConfig("tiny")


def build_tiny(config: ModelConfig, num_classes: int, stream: str = "rgb") -> VideoModel:
    """In place of `build_from_config`: reads `options`, dropout and decay, not the backbone."""
    return TinyNetwork(
        num_classes,
        stream=stream,
        dropout_rate=config.dropout_rate,
        weight_decay=config.weight_decay,
        **config.options,
    ).build_for_stream()


def fixed_weights(model: VideoModel, seed: int = 0) -> None:
    """Gives a built network weights that depend on the seed and their shapes only."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        fan_in = max(int(np.prod(variable.shape[:-1])), 1)
        scale = 1.0 / np.sqrt(fan_in) if len(variable.shape) > 1 else 0.1
        noise = random.normal(0, scale, variable.shape)
        # Scales of batch norm start at 1 and stay near it.
        base = 1.0 if "gamma" in variable.name else 0.0
        variable.assign((base + noise).astype(np.float32))
