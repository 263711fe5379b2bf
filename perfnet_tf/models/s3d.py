"""S3D-G: the separable 3-D Inception network with feature gating of Xie et al. 2018."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models import PACKAGE
from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.layers import (
    ConvUnit,
    FeatureGating,
    TemporalIdentity,
    VideoMaxPool,
)
from perfnet_tf.models.rematerialization import call_block
from perfnet_tf.models.video_model import VideoModel


@dataclass(frozen=True)
class PoolSpec:
    """A max pooling: window and stride over (frames, height, width)."""

    window: tuple[int, int, int]
    stride: tuple[int, int, int]


@dataclass(frozen=True)
class CellSpec:
    """An Inception cell: the channels of its four branches, in the order of the published table.

    Branch 0: 1x1x1. Branch 1: 1x1x1, separable 3x3x3. Branch 2: the same. Branch 3: 3x3x3 max
    pooling, 1x1x1.
    """

    branch0: int
    branch1: tuple[int, int]
    branch2: tuple[int, int]
    branch3: int


#: The stages after the stem. Source: Szegedy et al. 2015, Table 1; reference code for pooling and
#: names: TF-slim `s3dg`.
STAGES: dict[str, PoolSpec | CellSpec] = {
    "MaxPool_3a_3x3": PoolSpec((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": CellSpec(64, (96, 128), (16, 32), 32),
    "Mixed_3c": CellSpec(128, (128, 192), (32, 96), 64),
    "MaxPool_4a_3x3": PoolSpec((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": CellSpec(192, (96, 208), (16, 48), 64),
    "Mixed_4c": CellSpec(160, (112, 224), (24, 64), 64),
    "Mixed_4d": CellSpec(128, (128, 256), (24, 64), 64),
    "Mixed_4e": CellSpec(112, (144, 288), (32, 64), 64),
    "Mixed_4f": CellSpec(256, (160, 320), (32, 128), 128),
    "MaxPool_5a_2x2": PoolSpec((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": CellSpec(256, (160, 320), (32, 128), 128),
    "Mixed_5c": CellSpec(384, (192, 384), (48, 128), 128),
}
STEM_POOL = PoolSpec((1, 3, 3), (1, 2, 2))
GATINGS = ("branch", "cell", "none")
HEADS = ("frame_pairs", "windows", "mean")


@dataclass(frozen=True)
class UnitOptions:
    """What all convolutions of the network share; see `S3D`."""

    batch_norm: BatchNormOptions
    temporal_batch_norm: bool
    weight_decay: float
    padding: str

    def conv(self, filters: int, kernel_size: Any, strides: Any = 1, *, name: str) -> ConvUnit:
        """Convolution, batch norm, ReLU."""
        return ConvUnit(
            filters,
            kernel_size,
            strides,
            batch_norm=self.batch_norm,
            kernel_initializer=tf_keras.initializers.TruncatedNormal(stddev=0.01),
            weight_decay=self.weight_decay,
            padding=self.padding,
            name=name,
        )

    def temporal(self, filters: int, kernel: int, stride: int = 1, *, name: str) -> ConvUnit:
        """k x 1 x 1 convolution, bias (or batch norm), ReLU; at first the identity."""
        return ConvUnit(
            filters,
            (kernel, 1, 1),
            (stride, 1, 1),
            batch_norm=self.batch_norm if self.temporal_batch_norm else None,
            kernel_initializer=TemporalIdentity(),
            weight_decay=self.weight_decay,
            padding=self.padding,
            name=name,
        )

    def gating(self) -> FeatureGating:
        """A gate without bias, as TF-slim's."""
        return FeatureGating(use_bias=False, weight_decay=self.weight_decay, name="gating")

    def pool(self, spec: PoolSpec, *, name: str) -> VideoMaxPool:
        """Max pooling."""
        symmetric = self.padding == "symmetric"
        return VideoMaxPool(spec.window, spec.stride, pad_symmetrically=symmetric, name=name)


class Chain(tf_keras.layers.Layer):
    """Sequential that forwards `training` where a layer accepts it. Call as `ConvUnit`."""

    def __init__(self, layers: Sequence[tf_keras.layers.Layer], *, name: str) -> None:
        super().__init__(name=name)
        self.layers = list(layers)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The last layer's output."""
        outputs = inputs
        for layer in self.layers:
            trains = isinstance(layer, (ConvUnit, Chain))
            outputs = layer(outputs, training=training) if trains else layer(outputs)
        return outputs


class InceptionCell(tf_keras.layers.Layer):
    """Four branches, joined along the channels. Call as `ConvUnit`."""

    def __init__(
        self,
        spec: CellSpec,
        scaled: Callable[[int], int],
        options: UnitOptions,
        *,
        gating: str,
        name: str,
    ) -> None:
        super().__init__(name=name)
        gates: Callable[[], list[FeatureGating]] = lambda: (  # noqa: E731
            [options.gating()] if gating == "branch" else []
        )
        reduce1, filters1 = map(scaled, spec.branch1)
        reduce2, filters2 = map(scaled, spec.branch2)
        self.branches = [
            Chain(
                [options.conv(scaled(spec.branch0), 1, name="conv1x1"), *gates()], name="branch0"
            ),
            Chain(
                [
                    options.conv(reduce1, 1, name="conv1x1"),
                    options.conv(filters1, (1, 3, 3), name="spatial"),
                    options.temporal(filters1, 3, name="temporal"),
                    *gates(),
                ],
                name="branch1",
            ),
            Chain(
                [
                    options.conv(reduce2, 1, name="conv1x1"),
                    options.conv(filters2, (1, 3, 3), name="spatial"),
                    options.temporal(filters2, 3, name="temporal"),
                    *gates(),
                ],
                name="branch2",
            ),
            Chain(
                [
                    tf_keras.layers.MaxPool3D(3, 1, padding="same", name="pool"),
                    options.conv(scaled(spec.branch3), 1, name="conv1x1"),
                    *gates(),
                ],
                name="branch3",
            ),
        ]
        self.gating = options.gating() if gating == "cell" else None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The joined branches."""
        outputs = tf.concat([branch(inputs, training=training) for branch in self.branches], -1)
        return outputs if self.gating is None else self.gating(outputs)


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class S3D(VideoModel):
    """S3D-G (Xie et al. 2018, arXiv:1712.04851), and S3D with `gating="none"`.

    The defaults are TF-slim's `s3dg`, whose published weights fit. Endpoints carry its names:
    `Conv2d_1a_7x7` .. `Mixed_5c`, then `features` (1024 at full width) and `logits`. The call is
    `VideoModel`'s.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        gating: str = "branch",
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
            gating: where features are gated, from the second convolution on: `branch`: each
                Inception branch (TF-slim); `cell`: each cell (Model Garden); `none`.
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
        check_choice("gating", gating, GATINGS)
        check_choice("head", head, HEADS)
        if not (isinstance(stem_temporal_kernel, int) and stem_temporal_kernel % 2 == 1):
            raise InputError(
                f"stem_temporal_kernel must be odd. Received: {stem_temporal_kernel!r}."
            )
        self.gating = gating
        self.stem_temporal_kernel = stem_temporal_kernel
        self.separable_stem = separable_stem
        self.temporal_batch_norm = temporal_batch_norm
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon
        self.batch_norm_scale = batch_norm_scale
        self.head = head

        options = UnitOptions(
            BatchNormOptions(batch_norm_momentum, batch_norm_epsilon, batch_norm_scale),
            temporal_batch_norm,
            self.weight_decay,
            self.padding,
        )
        scaled = self.scaled
        gates = [] if gating == "none" else [options.gating()]
        self.stages: dict[str, tf_keras.layers.Layer] = {
            "Conv2d_1a_7x7": _stem(scaled(64), stem_temporal_kernel, separable_stem, options),
            "MaxPool_2a_3x3": options.pool(STEM_POOL, name="MaxPool_2a_3x3"),
            "Conv2d_2b_1x1": options.conv(scaled(64), 1, name="Conv2d_2b_1x1"),
            "Conv2d_2c_3x3": Chain(
                [
                    options.conv(scaled(192), (1, 3, 3), name="spatial"),
                    options.temporal(scaled(192), 3, name="temporal"),
                    *gates,
                ],
                name="Conv2d_2c_3x3",
            ),
        }
        for name, spec in STAGES.items():
            if isinstance(spec, PoolSpec):
                self.stages[name] = options.pool(spec, name=name)
            else:
                self.stages[name] = InceptionCell(spec, scaled, options, gating=gating, name=name)

    @property
    def backbone(self) -> str:
        """`s3d_g`, or `s3d` without gating."""
        return "s3d" if self.gating == "none" else "s3d_g"

    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """The stages, one after the other."""
        maps: dict[str, tf.Tensor] = {}
        outputs = inputs
        for name, stage in self.stages.items():
            if isinstance(stage, VideoMaxPool):
                outputs = stage(outputs)
            else:
                outputs = call_block(stage, outputs, training=training)
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
            frames = tf.einsum("bthwc,h,w->btc", features, rows, columns)
        else:
            frames = tf.reduce_mean(features, axis=[2, 3])  # [batch, frames, channels]
        length = tf.shape(frames)[1] if frames.shape[1] is None else frames.shape[1]
        pairs = tf.maximum(length - 1, 1) if tf.is_tensor(length) else max(length - 1, 1)
        return (frames[:, :pairs] + frames[:, -pairs:]) / 2

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "gating": self.gating,
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
    filters: int, temporal_kernel: int, separable: bool, options: UnitOptions
) -> tf_keras.layers.Layer:
    name = "Conv2d_1a_7x7"
    if not separable:
        return options.conv(filters, (temporal_kernel, 7, 7), 2, name=name)
    return Chain(
        [
            options.conv(filters, (1, 7, 7), (1, 2, 2), name="spatial"),
            options.temporal(filters, temporal_kernel, 2, name="temporal"),
        ],
        name=name,
    )
