"""The layers of an `S3D` by their place, as its importers go through them."""

from __future__ import annotations

from collections.abc import Iterator

from perfnet_tf.models.inception_cells import Chain, InceptionCell
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.s3d import S3D


def layers_of(model: S3D) -> dict[str, ConvUnit | FeatureGating]:
    """Place -> convolution or gate, in the order of the network.

    Places are `STAGE`, `STAGE.LAYER`, `CELL.branchN.LAYER` and `CELL.gating`, where LAYER is
    `conv1x1`, `spatial`, `temporal` or `gating`: `Mixed_3b.branch1.temporal`.
    """
    found: dict[str, ConvUnit | FeatureGating] = {}
    for name, stage in model.stages.items():
        if isinstance(stage, ConvUnit):
            found[name] = stage
        elif isinstance(stage, Chain):
            found.update(_chain(name, stage))
        elif isinstance(stage, InceptionCell):
            for number, branch in enumerate(stage.branches):
                found.update(_chain(f"{name}.branch{number}", branch))
            if stage.gating is not None:
                found[f"{name}.gating"] = stage.gating
    return found


def _chain(place: str, chain: Chain) -> Iterator[tuple[str, ConvUnit | FeatureGating]]:
    for layer in chain.layers:
        if isinstance(layer, (ConvUnit, FeatureGating)):
            yield f"{place}.{layer.name}", layer
