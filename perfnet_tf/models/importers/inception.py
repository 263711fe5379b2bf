"""TF-slim's InceptionV1, trained on images, inflated to S3D-G."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.reading import Reading
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.importers.slim import (
    ASSUMED,
    HEAD,
    STEM,
    head_slots,
    ignorable_among,
    layer_slots,
    name_of,
    select_scope,
    width_of,
)
from perfnet_tf.models.importers.tensors import read_checkpoint
from perfnet_tf.models.importers.transfer import Slot, as_vector, close_gate, fresh_classifier
from perfnet_tf.models.inflation import (
    NEUTRAL_GATE,
    identity_kernel,
    inflate_kernel,
    rgb_kernel_for_flow,
)
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.s3d import S3D
from perfnet_tf.streams import FLOW


def read_inception_v1(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """TF-slim's InceptionV1 for images, inflated to S3D-G; arguments as in `read_s3dg`.

    Its temporal convolutions are the identity, so that the clip's ends matter in the first
    convolution only. Gates are neutral and the layers before them doubled (`inflation`), for which
    batch norms need a scale.
    """
    tensors, outside = select_scope(read_checkpoint(path), scope, average)
    shapes = tensors.shapes
    if len(shapes[STEM]) != 4:
        raise InputError(
            "imagenet_inception_v1 takes image networks, whose kernels have 4 axes. Received: "
            f"{tensors.names_in_file[STEM]} {list(shapes[STEM])}. Take slim_s3dg for a video "
            "network."
        )
    has_gamma = "Conv2d_1a_7x7/BatchNorm/gamma" in shapes
    gating = given.get("gating", "branch")
    scaled = bool(given.get("batch_norm_scale", has_gamma or gating != "none"))
    if gating != "none" and not scaled:
        raise InputError(
            "Gates that leave an inflated network as it is need batch norms with a scale. "
            f"Received: gating={gating}, batch_norm_scale=false. Leave batch_norm_scale out, or "
            "take gating=none."
        )
    head = f"{HEAD}/weights" in shapes

    def slots(model: S3D) -> list[Slot]:
        layers = layers_of(model)
        result = []
        for place, layer in layers.items():
            if isinstance(layer, FeatureGating) or place.endswith(".temporal"):
                continue
            stem = place.startswith("Conv2d_1a")
            scale = _gate_scale(place, layers)
            for slot in layer_slots(place, layer, name_of(place)):
                kind = slot.target.split(".")[-1]
                if kind == "kernel":
                    frames = slot.variable.shape[0]
                    flow = stem and model.stream == FLOW
                    result.append(
                        Slot(slot.target, slot.variable, slot.sources, _inflation(frames, flow))
                    )
                elif kind == "gamma" and not has_gamma:
                    continue
                elif kind in ("gamma", "beta"):
                    scaled_vector = lambda t, s=scale: as_vector(t) * s  # noqa: E731
                    result.append(Slot(slot.target, slot.variable, slot.sources, scaled_vector))
                else:
                    result.append(slot)
        return result + (head_slots(model) if head else [])

    def complete(model: S3D) -> dict[str, str]:
        initial = {} if head else fresh_classifier()
        layers = layers_of(model)
        for place, layer in layers.items():
            scale = _gate_scale(place, layers)
            if isinstance(layer, FeatureGating):
                initial.update(close_gate(place, layer))
            elif place.endswith(".temporal"):
                initial.update(_set_identity(place, layer, scale))
            elif layer.norm is not None and layer.norm.gamma is not None and not has_gamma:
                layer.norm.gamma.assign(np.full(layer.norm.gamma.shape, scale))
                initial[f"{place}.gamma"] = "a scale of 1, or of 2 before a gate"
        return initial

    options = {**ASSUMED, "gating": "branch", "batch_norm_scale": scaled}
    inferred = {"width_multiplier": width_of(shapes)}
    classes = shapes[f"{HEAD}/weights"][-1] if head else None
    notes = ["inflated as in I3D: the first kernel is repeated over its frames"]
    return Reading(
        tensors, "s3d", options, inferred, None, classes, slots, ignorable_among(tensors),
        complete=complete, classes_without_head=1000, notes=notes, outside=outside,
    )  # fmt: skip


def _gate_scale(place: str, layers: Mapping[str, Any]) -> float:
    """2 for the layer before a gate, else 1."""
    parent, _, kind = place.rpartition(".")
    if kind == "conv1x1" and not parent.endswith(("branch0", "branch3")) or kind == "spatial":
        return 1.0
    gated = f"{parent}.gating" in layers or f"{parent.split('.')[0]}.gating" in layers
    return 1 / NEUTRAL_GATE if parent and gated else 1.0


def _set_identity(place: str, unit: ConvUnit, scale: float) -> dict[str, str]:
    """Makes a temporal convolution the identity, or `scale` times it."""
    frames, _, _, channels, _ = unit.conv.kernel.shape
    norm = unit.norm
    by_norm = norm is not None and norm.gamma is not None
    unit.conv.kernel.assign(identity_kernel(frames, channels, 1.0 if by_norm else scale))
    if norm is None:
        unit.conv.bias.assign(np.zeros(channels))
    else:
        # Divides by sqrt(variance + epsilon) = 1.
        norm.moving_variance.assign(np.full(channels, 1 - norm.epsilon))
        if by_norm:
            norm.gamma.assign(np.full(channels, scale))
    variables = unit.variables
    kinds = [variable.name.split("/")[-1].split(":")[0] for variable in variables]
    return {f"{place}.{kind}": "temporal convolutions, the identity" for kind in kinds}


def _inflation(frames: int, flow: bool) -> Callable[[np.ndarray], np.ndarray]:
    def inflate(kernel: np.ndarray) -> np.ndarray:
        return inflate_kernel(rgb_kernel_for_flow(kernel) if flow else kernel, frames)

    return inflate
