"""The layers of a `ResNet3D50` by their place, as its importers go through them."""

from __future__ import annotations

from collections.abc import Iterator

from perfnet_tf.models.importers.transfer import Slot
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.resnet3d import BLOCKS, Bottleneck, ResNet3D50
from perfnet_tf.models.video_model import VideoModel

#: Variables of a batch norm, as Keras names them.
NORM_KINDS = ("gamma", "beta", "moving_mean", "moving_variance")


def cells_of(
    model: ResNet3D50,
) -> Iterator[tuple[str, Bottleneck, dict[str, FeatureGating]]]:
    """Each cell's place, the cell, and the gates that its output passes, by place."""
    for spec, block in zip(BLOCKS, model.blocks, strict=True):
        for number, cell in enumerate(block.cells, start=1):
            place = f"{spec.name}.cell{number}"
            gates = {
                f"{place}.residual_gating": cell.residual_gating,
                f"{place}.output_gating": cell.output_gating,
            }
            if number == len(block.cells):
                gates[f"{spec.name}.gating"] = block.gating
            yield place, cell, {name: gate for name, gate in gates.items() if gate is not None}


def units_of(cell: Bottleneck) -> Iterator[tuple[str, ConvUnit]]:
    """Name -> convolution of a cell; `shortcut` is in the first cell of a block only."""
    for name in ("shortcut", "temporal", "spatial", "expand"):
        unit = getattr(cell, name)
        if unit is not None:
            yield name, unit


def head_slots(model: VideoModel, name: str) -> list[Slot]:
    """The slots of the classifier, a dense layer called `name`."""
    return [
        Slot("classifier.kernel", model.classifier.kernel, (f"{name}/kernel",)),
        Slot("classifier.bias", model.classifier.bias, (f"{name}/bias",)),
    ]
