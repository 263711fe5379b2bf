"""S3D-G, the separable 3-D Inception network of Xie et al. 2018, and I3D, which it refines."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models import PACKAGE
from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.inception_cells import (
    KERNELS,
    STAGES,
    STEM_POOL,
    Chain,
    InceptionCell,
    PoolSpec,
    UnitOptions,
)
from perfnet_tf.models.layers import VideoMaxPool
from perfnet_tf.models.rematerialization import call_block
from perfnet_tf.models.stem import convolve_and_pool
from perfnet_tf.models.video_model import VideoModel

GATINGS = ("branch", "cell", "none")
HEADS = ("frame_pairs", "windows", "mean")


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class S3D(VideoModel):
    """S3D-G (Xie et al. 2018, arXiv:1712.04851), S3D with `gating="none"`, I3D with full kernels.

    The defaults are TF-slim's `s3dg`, whose published weights fit. Endpoints carry its names:
    `Conv2d_1a_7x7` .. `Mixed_5c`, then `features` (1024 at full width) and `logits`. Those of I3D
    (Carreira & Zisserman 2017, arXiv:1705.07750) carry kinetics-i3d's: `Conv3d_1a_7x7` and
    `MaxPool3d_2a_3x3`. The call is `VideoModel`'s.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        kernels: str = "separable",
        gating: str = "branch",
        neutral_gates: bool = False,
        stem_temporal_kernel: int = 3,
        separable_stem: bool = False,
        temporal_batch_norm: bool = False,
        batch_norm_momentum: float = 0.999,
        batch_norm_epsilon: float = 1e-3,
        batch_norm_scale: bool = False,
        head: str = "frame_pairs",
        **kwargs: Any,
    ) -> None:
        """Makes an unbuilt network.

        Args:
            num_classes: number of logits.
            kernels: how a 3x3x3 convolution is computed: `separable`: 1x3x3, then 3x1x1; `full`:
                as one (I3D).
            gating: where features are gated, from the second convolution on: `branch`: each
                Inception branch (TF-slim); `cell`: each cell (Model Garden); `none`.
            neutral_gates: whether gates begin as the identity, for weights that were trained
                without; see `FeatureGating`.
            stem_temporal_kernel: frames of the first kernel: 3 (TF-slim) or 7 (the paper of
                S3D-G). Odd.
            separable_stem: whether the first convolution is 1x7x7 then k x 1 x 1 (torchvision).
            temporal_batch_norm: whether temporal convolutions have batch norm rather than a bias
                (Model Garden, torchvision).
            batch_norm_momentum: of every batch norm. With 0.999 the moving averages need some
                5,000 steps to settle; take 0.9 to 0.99 for a shorter training from scratch.
            batch_norm_epsilon: of every batch norm.
            batch_norm_scale: whether batch norms have a scale (torchvision).
            head: `frame_pairs` averages the means of neighbouring time steps, so that inner steps
                weigh twice as much as the ends (TF-slim: a 2x7x7 pooling of stride 1, which at
                224x224 spans height and width); `windows` keeps the pooling at 2x7x7 for larger
                frames, too (torchvision), so that their border weighs less; `mean` weighs all
                alike (Model Garden).
            **kwargs: of `VideoModel`.
        """
        super().__init__(num_classes, **kwargs)
        check_choice("kernels", kernels, KERNELS)
        check_choice("gating", gating, GATINGS)
        check_choice("head", head, HEADS)
        if not (isinstance(stem_temporal_kernel, int) and stem_temporal_kernel % 2 == 1):
            raise InputError(
                f"stem_temporal_kernel must be odd. Received: {stem_temporal_kernel!r}."
            )
        if kernels == "full" and (separable_stem or temporal_batch_norm):
            raise InputError(
                "separable_stem and temporal_batch_norm are for separable kernels. Received: "
                f"kernels=full, separable_stem={separable_stem}, "
                f"temporal_batch_norm={temporal_batch_norm}. Leave them out."
            )
        self.kernels = kernels
        self.gating = gating
        self.neutral_gates = neutral_gates
        self.stem_temporal_kernel = stem_temporal_kernel
        self.separable_stem = separable_stem
        self.temporal_batch_norm = temporal_batch_norm
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.batch_norm_scale = batch_norm_scale
        self.head = head

        options = UnitOptions(
            kernels,
            BatchNormOptions(batch_norm_momentum, batch_norm_epsilon, batch_norm_scale),
            temporal_batch_norm,
            neutral_gates,
            self.weight_decay,
            self.padding,
        )
        scaled = self.scaled
        gates = [] if gating == "none" else [options.gating()]
        conv, pool = ("Conv3d", "MaxPool3d") if kernels == "full" else ("Conv2d", "MaxPool")
        stages: list[tf_keras.layers.Layer] = [
            _stem(scaled(64), stem_temporal_kernel, separable_stem, options, name=f"{conv}_1a_7x7"),
            options.pool(STEM_POOL, name=f"{pool}_2a_3x3"),
            options.conv(scaled(64), 1, name=f"{conv}_2b_1x1"),
            Chain([*options.conv3x3x3(scaled(192)), *gates], name=f"{conv}_2c_3x3"),
        ]
        for name, spec in STAGES.items():
            if isinstance(spec, PoolSpec):
                stages.append(options.pool(spec, name=name.replace("MaxPool", pool)))
            else:
                stages.append(InceptionCell(spec, scaled, options, gating=gating, name=name))
        self.stages = {stage.name: stage for stage in stages}

    @property
    def backbone(self) -> str:
        """`s3d_g` or `i3d_g` by the kernels; `s3d` or `i3d` without gating."""
        name = "i3d" if self.kernels == "full" else "s3d"
        return name if self.gating == "none" else f"{name}_g"

    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """The stages, one after the other."""
        (conv, stem), (pool, pooling), *others = self.stages.items()
        features, outputs = convolve_and_pool(stem, pooling, inputs, training=training)
        maps = {conv: features, pool: outputs}
        for name, stage in others:
            if isinstance(stage, VideoMaxPool):
                outputs = stage(outputs)
            else:
                outputs = call_block(stage, outputs, training=training, name=name)
            maps[name] = outputs
        return maps

    def pool(self, features: tf.Tensor) -> tf.Tensor:
        """`[batch, steps, channels]`: the mean of each two neighbouring time steps, or of all.

        A single time step is its own pair.
        """
        if self.head == "mean":
            return super().pool(features)
        if self.head == "windows":
            rows, columns = (_window_weights(tf.shape(features)[axis]) for axis in (2, 3))
            # No einsum: OpenVINO does not read this one in an ONNX file.
            weights = rows[:, None, None] * columns[:, None]  # [height, width, 1]
            frames = tf.reduce_sum(features * weights, axis=[2, 3])
        else:
            frames = tf.reduce_mean(features, axis=[2, 3])  # [batch, frames, channels]
        length = tf.shape(frames)[1] if frames.shape[1] is None else frames.shape[1]
        pairs = tf.maximum(length - 1, 1) if tf.is_tensor(length) else max(length - 1, 1)
        return (frames[:, :pairs] + frames[:, -pairs:]) / 2

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "kernels": self.kernels,
            "gating": self.gating,
            "neutral_gates": self.neutral_gates,
            "stem_temporal_kernel": self.stem_temporal_kernel,
            "separable_stem": self.separable_stem,
            "temporal_batch_norm": self.temporal_batch_norm,
            "batch_norm_momentum": self.batch_norm_momentum,
            "batch_norm_epsilon": self.batch_norm_epsilon,
            "batch_norm_scale": self.batch_norm_scale,
            "head": self.head,
        }


def _window_weights(size: tf.Tensor, window: int = 7) -> tf.Tensor:
    """float32 `[size]`, sum 1: in how many windows of stride 1 each position is.

    Windows are as long as the axis if that is shorter.
    """
    window = tf.minimum(window, size)
    position = tf.range(size)
    first = tf.maximum(position - window + 1, 0)
    last = tf.minimum(position, size - window)
    counts = tf.cast(last - first + 1, tf.float32)
    return counts / tf.reduce_sum(counts)


def _stem(
    filters: int, temporal_kernel: int, separable: bool, options: UnitOptions, *, name: str
) -> tf_keras.layers.Layer:
    if not separable:
        return options.conv(filters, (temporal_kernel, 7, 7), 2, name=name)
    return Chain(
        [
            options.conv(filters, (1, 7, 7), (1, 2, 2), name="spatial"),
            options.temporal(filters, temporal_kernel, 2, name="temporal"),
        ],
        name=name,
    )
