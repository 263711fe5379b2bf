"""R3D50-G: the 3-D ResNet-50 with feature gating of PERF-Net Table 1."""

from __future__ import annotations

import functools
from collections.abc import Sequence
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
    VideoMaxPool,
)
from perfnet_tf.models.modes import is_building, runs_on_tpu
from perfnet_tf.models.rematerialization import (
    call_block,
    call_part,
    from_convolution,
    is_cut_at_convolutions,
)
from perfnet_tf.models.space_to_depth import PAIR, PIXEL, Block, from_columns, to_blocks
from perfnet_tf.models.stem import convolve_and_pool
from perfnet_tf.models.video_model import VideoModel


@dataclass(frozen=True)
class BlockSpec:
    """A row of Table 1: `cells` bottlenecks of `filters`, `filters` and 4 `filters` channels."""

    name: str
    filters: int
    cells: int
    spatial_stride: int


#: PERF-Net Table 1.
BLOCKS = (
    BlockSpec("res2", 64, 3, spatial_stride=1),
    BlockSpec("res3", 128, 4, spatial_stride=2),
    BlockSpec("res4", 256, 6, spatial_stride=2),
    BlockSpec("res5", 512, 3, spatial_stride=2),
)
EXPANSION = 4
#: Two columns of so many channels take the room of one on a TPU, which stores channels by 128.
MAX_FILTERS_IN_PAIRS = 64

#: Temporal kernel size of each cell's first convolution, by reading of Table 1.
TEMPORAL_KERNELS = {
    # The network whose cost is the 3666 GFLOPs of the paper's Table 5, and the inflation of the
    # non-local networks' code (Wang et al. 2018) that the paper starts from: res5 is 1, 3, 1.
    "table1": ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (1, 3, 1)),
    # The caption to the letter: "ti = 3 when i is an odd number and ti = 1 when i is even", in
    # res3, res4 and res5, with i counted from 1 within each block.
    "caption": ((3, 3, 3), (3, 1, 3, 1), (3, 1, 3, 1, 3, 1), (3, 1, 3)),
}
#: Parts of a cell that can be computed again alone: 1x1x1 convolutions, a tenth of its arithmetic,
#: which make two thirds of what it keeps.
PARTS = (EXPANSION_PART, SHORTCUT_PART) = ("expansion", "shortcut")
GATINGS = ("block", "block_residual", "cell", "none")
STRIDE_ON = ("spatial", "temporal")


class Bottleneck(tf_keras.layers.Layer):
    """A cell: t x 1 x 1, 1 x 3 x 3 and 1 x 1 x 1 convolutions and a shortcut, added.

    Call and result as `ConvUnit`.
    """

    def __init__(
        self,
        filters: int,
        temporal_kernel: int,
        spatial_stride: int,
        *,
        project: bool,
        gate_residual: bool,
        gate_output: bool,
        stride_on: str,
        weight_decay: float,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name=name)
        options["weight_decay"] = weight_decay
        strides = (1, spatial_stride, spatial_stride)
        first, second = (strides, 1) if stride_on == "temporal" else (1, strides)
        outputs = EXPANSION * filters
        self.shortcut = None
        if project:
            self.shortcut = ConvUnit(
                outputs, 1, strides, activation=False, name="shortcut", **options
            )
        self.temporal = ConvUnit(
            filters, (temporal_kernel, 1, 1), first, name="temporal", **options
        )
        self.spatial = ConvUnit(filters, (1, 3, 3), second, name="spatial", **options)
        self.expand = ConvUnit(outputs, 1, activation=False, name="expand", **options)
        self.residual_gating = self.output_gating = None
        if gate_residual:
            self.residual_gating = FeatureGating(use_bias=True, weight_decay=weight_decay)
        if gate_output:
            self.output_gating = FeatureGating(use_bias=True, weight_decay=weight_decay)

    def call(self, inputs: tf.Tensor, training: bool = False, block: Block = PIXEL) -> tf.Tensor:
        """The cell's output."""
        if training and is_cut_at_convolutions(*PARTS):
            residual, shortcut = self._train_in_parts(inputs, block)
        else:
            shortcut = inputs
            if self.shortcut is not None:
                shortcut = self.shortcut(inputs, training=training, block=block)
            residual = self.temporal(inputs, training=training, block=block)
            residual = self.spatial(residual, training=training, block=block)
            residual = self.expand(residual, training=training, block=block)
            residual = self._gate_residual(residual, block)
        outputs = tf.nn.relu(residual + shortcut)
        return outputs if self.output_gating is None else self.output_gating(outputs, block=block)

    def _train_in_parts(self, inputs: tf.Tensor, block: Block) -> tuple[tf.Tensor, tf.Tensor]:
        """The same, in parts that end in convolutions: what those return is all that is kept."""

        def from_temporal(convolved: tf.Tensor) -> tf.Tensor:
            return self.spatial.convolve(self.temporal.finish(convolved, True, block), block)

        def from_spatial(convolved: tf.Tensor) -> tf.Tensor:
            return self.expand.convolve(self.spatial.finish(convolved, True, block), block)

        def expanded(convolved: tf.Tensor) -> tf.Tensor:
            residual = self.expand.finish(from_convolution(from_spatial, convolved), True, block)
            return self._gate_residual(residual, block)

        convolved = from_convolution(from_temporal, self.temporal.convolve(inputs, block))
        residual = call_part(expanded, convolved, name=EXPANSION_PART)
        if self.shortcut is None:
            return residual, inputs
        shortcut = functools.partial(self.shortcut.__call__, training=True, block=block)
        return residual, call_part(shortcut, inputs, name=SHORTCUT_PART)

    def _gate_residual(self, residual: tf.Tensor, block: Block) -> tf.Tensor:
        if self.residual_gating is None:
            return residual
        return self.residual_gating(residual, block=block)


class ResidualBlock(tf_keras.layers.Layer):
    """A row of Table 1: its cells, then feature gating. Call and result as `ConvUnit`."""

    def __init__(
        self,
        filters: int,
        temporal_kernels: Sequence[int],
        spatial_stride: int,
        *,
        gating: str,
        weight_decay: float,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name=name)
        # On TPUs, see `space_to_depth`. Without a stride pairs of columns stay pairs.
        self.pairs_on_tpu = filters <= MAX_FILTERS_IN_PAIRS and spatial_stride == 1
        last = len(temporal_kernels) - 1
        self.cells: list[Bottleneck] = [
            Bottleneck(
                filters,
                temporal_kernel,
                spatial_stride if i == 0 else 1,
                project=i == 0,
                gate_residual=gating == "block_residual" and i == last,
                gate_output=gating == "cell",
                weight_decay=weight_decay,
                name=f"cell{i + 1}",
                **options,
            )
            for i, temporal_kernel in enumerate(temporal_kernels)
        ]
        self.gating = None
        if gating == "block":
            self.gating = FeatureGating(use_bias=True, weight_decay=weight_decay, name="gating")

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The block's output."""
        block = self._layout(inputs)
        outputs = to_blocks(inputs, block)
        for cell in self.cells:
            in_blocks = functools.partial(cell.__call__, block=block)
            name = f"{self.name}/{cell.name}"
            outputs = call_block(in_blocks, outputs, training=training, name=name)
        if self.gating is not None:
            outputs = self.gating(outputs, block=block)
        return from_columns(outputs, block)

    def _layout(self, inputs: tf.Tensor) -> Block:
        width = inputs.shape[3]
        even = width is not None and width % 2 == 0
        in_pairs = self.pairs_on_tpu and runs_on_tpu() and even and not is_building()
        return PAIR if in_pairs else PIXEL


@tf_keras.utils.register_keras_serializable(package=PACKAGE)
class ResNet3D50(VideoModel):
    """R3D50-G (PERF-Net Sec. 3.2, Table 1), and R3D50 with `gating="none"`.

    Endpoints: `conv1`, `pool1`, `res2` .. `res5` (gated), `features` (2048 at full width),
    `logits`. The call is `VideoModel`'s.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        gating: str = "block",
        temporal_kernels: str | Sequence[Sequence[int]] = "table1",
        stem_temporal_kernel: int = 5,
        temporal_downsampling: bool = False,
        stem_temporal_strides: Sequence[int] = (1, 1),
        stride_on: str = "spatial",
        batch_norm_momentum: float = 0.9,
        batch_norm_epsilon: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        """Makes an unbuilt network.

        Args:
            num_classes: number of logits.
            gating: where features are gated. `block`: each block's output (Table 1). `cell`: each
                cell's output (Sec. 3.2: similar accuracy, more cost). `block_residual`: within the
                last cell of each block, before the addition (Model Garden). `none`.
            temporal_kernels: of each cell's first convolution: `table1` or `caption`, two
                readings of Table 1, or the sizes themselves, one sequence a block.
            stem_temporal_kernel: frames of conv1's kernel.
            temporal_downsampling: halve the frames in conv1, pool1 and after res2, as the network
                that the paper starts from does (Wang et al. 2018, arXiv:1711.07971, Table 1); the
                paper finds that this costs accuracy.
            stem_temporal_strides: of conv1 and pool1 over frames, without `temporal_downsampling`.
                Model Garden's `ResNet3D` has (2, 2) by default. A pooling with a stride
                sees 3 frames.
            stride_on: the convolution of a block's first cell that halves height and width:
                `spatial`, the 1x3x3 (Model Garden), or `temporal`, the first (He et al. 2015,
                Keras' ResNet50).
            batch_norm_momentum, batch_norm_epsilon: of every batch norm. Paper silent; Model
                Garden's Kinetics recipe.
            **kwargs: of `VideoModel`.
        """
        super().__init__(num_classes, **kwargs)
        check_choice("gating", gating, GATINGS)
        if not (isinstance(stem_temporal_kernel, int) and stem_temporal_kernel > 0):
            raise InputError(
                f"stem_temporal_kernel must be a whole number > 0. Received: "
                f"{stem_temporal_kernel!r}."
            )
        self.gating = gating
        self.temporal_kernels = (
            temporal_kernels
            if isinstance(temporal_kernels, str)
            else tuple(tuple(sizes) for sizes in temporal_kernels)
        )
        self.stem_temporal_kernel = stem_temporal_kernel
        self.temporal_downsampling = temporal_downsampling
        self.stem_temporal_strides = _checked_strides(stem_temporal_strides, temporal_downsampling)
        check_choice("stride_on", stride_on, STRIDE_ON)
        self.stride_on = stride_on
        self.batch_norm_momentum = batch_norm_momentum
        self.batch_norm_epsilon = batch_norm_epsilon

        kernels = _resolve_temporal_kernels(self.temporal_kernels)
        options: dict[str, Any] = {
            "batch_norm": BatchNormOptions(batch_norm_momentum, batch_norm_epsilon),
            "weight_decay": self.weight_decay,
            "padding": self.padding,
        }
        # PERF-Net Sec. 3.2: no stride and no pooling over time.
        conv_stride, pool_stride = (2, 2) if temporal_downsampling else self.stem_temporal_strides
        self.conv1 = ConvUnit(
            self.scaled(64), (stem_temporal_kernel, 7, 7), (conv_stride, 2, 2), name="conv1",
            **options,
        )  # fmt: skip
        symmetric = self.padding == "symmetric"
        self.pool1 = VideoMaxPool(
            (1 if pool_stride == 1 else 3, 3, 3),
            (pool_stride, 2, 2),
            pad_symmetrically=symmetric,
            name="pool1",
        )
        self.pool2 = None
        if temporal_downsampling:
            self.pool2 = VideoMaxPool(
                (3, 1, 1), (2, 1, 1), pad_symmetrically=symmetric, name="pool2"
            )
        self.blocks = [
            ResidualBlock(
                self.scaled(block.filters),
                sizes,
                block.spatial_stride,
                gating=gating,
                stride_on=stride_on,
                name=block.name,
                **options,
            )
            for block, sizes in zip(BLOCKS, kernels, strict=True)
        ]

    @property
    def backbone(self) -> str:
        """`r3d50_g`, or `r3d50` without gating."""
        return "r3d50" if self.gating == "none" else "r3d50_g"

    def feature_maps(self, inputs: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Table 1, row by row."""
        conv1, outputs = convolve_and_pool(self.conv1, self.pool1, inputs, training=training)
        maps = {"conv1": conv1, "pool1": outputs}
        for spec, block in zip(BLOCKS, self.blocks, strict=True):
            maps[spec.name] = outputs = block(outputs, training=training)
            if spec.name == "res2" and self.pool2 is not None:
                outputs = self.pool2(outputs)
        return maps

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(),
            "gating": self.gating,
            "temporal_kernels": self.temporal_kernels,
            "stem_temporal_kernel": self.stem_temporal_kernel,
            "temporal_downsampling": self.temporal_downsampling,
            "stem_temporal_strides": self.stem_temporal_strides,
            "stride_on": self.stride_on,
            "batch_norm_momentum": self.batch_norm_momentum,
            "batch_norm_epsilon": self.batch_norm_epsilon,
        }


def _resolve_temporal_kernels(
    temporal_kernels: str | tuple[tuple[int, ...], ...],
) -> tuple[tuple[int, ...], ...]:
    if isinstance(temporal_kernels, str):
        check_choice("temporal_kernels", temporal_kernels, TEMPORAL_KERNELS)
        return TEMPORAL_KERNELS[temporal_kernels]
    cells = [block.cells for block in BLOCKS]
    positive = all(isinstance(size, int) and size > 0 for row in temporal_kernels for size in row)
    if [len(row) for row in temporal_kernels] != cells or not positive:
        raise InputError(
            f"temporal_kernels must hold {cells} whole numbers > 0 for res2 to res5. "
            f"Received: {temporal_kernels!r}."
        )
    return temporal_kernels


def _checked_strides(strides: Sequence[int], temporal_downsampling: bool) -> tuple[int, ...]:
    checked = tuple(strides)
    if len(checked) != 2 or not all(isinstance(n, int) and n > 0 for n in checked):
        raise InputError(
            f"stem_temporal_strides are two whole numbers > 0, of conv1 and pool1. "
            f"Received: {strides!r}."
        )
    if temporal_downsampling and checked != (1, 1):
        raise InputError(
            "temporal_downsampling sets the strides of conv1 and pool1 itself. "
            f"Received: stem_temporal_strides={strides!r}. Leave one of them out."
        )
    return checked
