"""The Inception cells of S3D and I3D, and the stages that they make up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from perfnet_tf.models.batch_norm import BatchNormOptions
from perfnet_tf.models.layers import (
    ConvUnit,
    FeatureGating,
    TemporalIdentity,
    VideoMaxPool,
)


@dataclass(frozen=True)
class PoolSpec:
    """A max pooling: window and stride over (frames, height, width)."""

    window: tuple[int, int, int]
    stride: tuple[int, int, int]


@dataclass(frozen=True)
class CellSpec:
    """An Inception cell: the channels of its four branches, in the order of the published table.

    Branch 0: 1x1x1. Branch 1: 1x1x1, 3x3x3 (see `KERNELS`). Branch 2: the same. Branch 3: 3x3x3
    max pooling, 1x1x1.
    """

    branch0: int
    branch1: tuple[int, int]
    branch2: tuple[int, int]
    branch3: int


#: The stages after the stem. Source: Szegedy et al. 2015, Table 1; reference code for pooling and
#: names: TF-slim `s3dg`; I3D's are alike.
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
#: `separable`: 1x3x3, then 3x1x1 (S3D); `full`: 3x3x3 (I3D).
KERNELS = ("separable", "full")


@dataclass(frozen=True)
class UnitOptions:
    """What all convolutions of the network share; see `S3D`."""

    kernels: str
    batch_norm: BatchNormOptions
    temporal_batch_norm: bool
    neutral_gates: bool
    weight_decay: float
    padding: str

    def conv(self, filters: int, kernel_size: Any, strides: Any = 1, *, name: str) -> ConvUnit:
        """Convolution, batch norm, ReLU."""
        # Reference code: TF-slim's `s3dg`, and Sonnet's default for I3D.
        small = tf_keras.initializers.TruncatedNormal(stddev=0.01)
        return ConvUnit(
            filters,
            kernel_size,
            strides,
            batch_norm=self.batch_norm,
            kernel_initializer=small if self.kernels == "separable" else "VarianceScaling",
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

    def conv3x3x3(self, filters: int) -> list[ConvUnit]:
        """A 3 x 3 x 3 convolution, in one or two units."""
        if self.kernels == "full":
            return [self.conv(filters, 3, name="conv3x3x3")]
        return [
            self.conv(filters, (1, 3, 3), name="spatial"),
            self.temporal(filters, 3, name="temporal"),
        ]

    def gating(self) -> FeatureGating:
        """A gate without bias, as TF-slim's."""
        return FeatureGating(
            use_bias=False,
            neutral=self.neutral_gates,
            weight_decay=self.weight_decay,
            name="gating",
        )

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
                    *options.conv3x3x3(filters1),
                    *gates(),
                ],
                name="branch1",
            ),
            Chain(
                [
                    options.conv(reduce2, 1, name="conv1x1"),
                    *options.conv3x3x3(filters2),
                    *gates(),
                ],
                name="branch2",
            ),
            Chain(
                [
                    VideoMaxPool(3, 1, name="pool"),
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
