"""torchvision's S3D: a PyTorch state dict into S3D without gates."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.reading import Reading, infer_width, stream_of
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.importers.tensors import Tensors, read_torch
from perfnet_tf.models.importers.transfer import Slot, fresh_classifier, unit_slots
from perfnet_tf.models.inception_cells import STAGES
from perfnet_tf.models.layers import FeatureGating
from perfnet_tf.models.s3d import S3D

_HEAD = "classifier.1"
_STEM = "features.0.0.0.weight"
#: The stages by torchvision's number: `features.N`.
_STEM_STAGES = ("Conv2d_1a_7x7", "MaxPool_2a_3x3", "Conv2d_2b_1x1", "Conv2d_2c_3x3")
_STAGE_NUMBERS = {name: i for i, name in enumerate((*_STEM_STAGES, *STAGES))}
#: Full channels of layers that determine the width.
_WIDTHS = {
    "features.3.0.0": 192,
    "features.14.branch1.1.0.0": 320,
    "features.15.branch1.1.0.0": 384,
}
_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def read_s3d(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """A state dict of `torchvision.models.video.s3d`, alone or within another module's.

    Args:
        path: see `read_torch`.
        given: does nothing.
        scope: of the network within the state dict, such as `model.module`; None if it holds one.
        average: whether to take moving averages; see `read_torch`.

    Raises:
        InputError: not such a file.
    """
    everything = read_torch(path, average=average)
    tensors, outside = _select_module(everything, scope)
    stem, temporal = _STEM, "features.0.1.0.weight"
    if len(tensors.shapes.get(stem, ())) != 5 or len(tensors.shapes.get(temporal, ())) != 5:
        raise InputError(
            f"A state dict of torchvision's s3d has {stem} and {temporal} with 5 axes. Received: "
            f"{path} with {len(everything)} tensors{_examples(everything)}."
        )
    widths = [
        (full, tensors.shapes[f"{name}.weight"][0])
        for name, full in _WIDTHS.items()
        if f"{name}.weight" in tensors.shapes
    ]
    options = {
        "separable_stem": True,
        "temporal_batch_norm": True,
        "batch_norm_scale": True,
        "batch_norm_momentum": 0.999,
        "batch_norm_epsilon": 1e-3,
        "padding": "symmetric",
        "input_scaling": "torchvision",
        "head": "windows",
        "dropout_rate": 0.2,
    }
    inferred = {
        "gating": "none",
        "stem_temporal_kernel": tensors.shapes[temporal][2],
        "width_multiplier": infer_width(widths),
    }
    head = f"{_HEAD}.weight" in tensors

    def slots(model: S3D) -> list[Slot]:
        result = []
        for place, layer in layers_of(model).items():
            name = _name_of(place)
            norm = {ours: f"{name}.1.{theirs}" for ours, theirs in _NORM.items()}
            if isinstance(layer, FeatureGating):  # a gate that was asked for has no tensor: refused
                kernel = layer.gate.kernel
                result.append(Slot(f"{place}.kernel", kernel, (f"{name}.gating",)))
            else:
                bias = f"{name}.0.bias"
                result += unit_slots(place, layer, f"{name}.0.weight", norm, bias, _channels_last)
        classifier = model.classifier
        if head:
            result += [
                Slot("classifier.kernel", classifier.kernel, (f"{_HEAD}.weight",), _matrix),
                Slot("classifier.bias", classifier.bias, (f"{_HEAD}.bias",)),
            ]
        return result

    return Reading(
        tensors,
        "s3d",
        options,
        inferred,
        stream_of(tensors.shapes[stem][1]),
        tensors.shapes[f"{_HEAD}.weight"][0] if head else None,
        slots,
        lambda name: "counters" if name.endswith("num_batches_tracked") else None,
        complete=lambda model: {} if head else fresh_classifier(),
        outside=outside,
    )


def _examples(tensors: Tensors) -> str:
    return f", such as {', '.join(list(tensors)[:2])}" if tensors else ""


def _select_module(tensors: Tensors, scope: str | None) -> tuple[Tensors, dict[str, str]]:
    """The tensors of one network by its own names; and what the file calls the others -> why."""
    found = sorted(
        {n.removesuffix(_STEM) for n in tensors if n == _STEM or n.endswith("." + _STEM)}
    )
    wanted = found if scope is None else [scope.strip(".") + "." if scope.strip(".") else ""]
    if found and (len(wanted) != 1 or wanted[0] not in found):
        scopes = ", ".join(name.rstrip(".") or "''" for name in found)
        raise InputError(
            f"A state dict holds one network of torchvision's s3d, with a tensor SCOPE.{_STEM}. "
            f"Received: {tensors.path} with the scopes {scopes}. Name one by `scope`."
        )
    prefix = wanted[0] if found else ""
    inside = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    network = tensors.renamed(inside)
    reason = f"outside the module {prefix.rstrip('.') or 's3d'}"
    return network, {name: reason for name in tensors.outside(network)}


def _channels_last(kernel: np.ndarray) -> np.ndarray:
    # [filters, channels, frames, height, width] -> [frames, height, width, channels, filters]
    return kernel.transpose(2, 3, 4, 1, 0)


def _matrix(kernel: np.ndarray) -> np.ndarray:
    # [classes, features, 1, 1, 1] -> [features, classes]
    return kernel[:, :, 0, 0, 0].T


def _name_of(place: str) -> str:
    """`Mixed_3b.branch1.temporal` -> `features.5.branch1.1.1`."""
    stage, *rest = place.split(".")
    name = f"features.{_STAGE_NUMBERS[stage]}"
    number = {"conv1x1": "0", "spatial": "0", "temporal": "1"}
    if not rest:
        return name
    if not rest[0].startswith("branch"):
        return f"{name}.{number.get(rest[0], rest[0])}"
    branch, layer = rest
    if branch == "branch0" or layer == "gating":
        return f"{name}.{branch}"
    if branch == "branch3":
        return f"{name}.branch3.1"
    return f"{name}.{branch}.0" if layer == "conv1x1" else f"{name}.{branch}.1.{number[layer]}"
