"""TF-slim's S3D-G: its own checkpoints, and D3D's."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.reading import Reading, infer_width, stream_of
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.importers.tensors import Tensors, read_checkpoint
from perfnet_tf.models.importers.transfer import Slot, fresh_classifier, unit_slots
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.s3d import S3D
from perfnet_tf.models.video_model import VideoModel

STEM = "Conv2d_1a_7x7/weights"
HEAD = "Logits/Conv2d_0c_1x1"
_AVERAGE = "/ExponentialMovingAverage"
#: Weights whose moving averages were taken in their place.
_REPLACED = "/replaced"
#: Full channels of layers that determine the width.
_WIDTHS = {
    "Conv2d_1a_7x7": 64,
    "Conv2d_2c_3x3": 192,
    "Mixed_5b/Branch_1/Conv2d_0b_3x3": 320,
    "Mixed_5c/Branch_1/Conv2d_0b_3x3": 384,
}
#: What TF-slim's networks have and no tensor determines.
ASSUMED = {"batch_norm_momentum": 0.999, "batch_norm_epsilon": 1e-3, "dropout_rate": 0.2}


def read_s3dg(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """A TF1 checkpoint of TF-slim's `s3dg`: RGB, flow or D3D, of any classes and width.

    Args:
        path: see `read_checkpoint`.
        given: options that the user chose.
        scope: of the network within the checkpoint; None if there is but one.
        average: whether to take the moving averages of the weights where there are both.

    Raises:
        InputError: not such a checkpoint.
    """
    tensors, outside = select_scope(read_checkpoint(path), scope, average)
    shapes = tensors.shapes
    stem = shapes[STEM]
    if len(stem) != 5:
        raise InputError(
            "slim_s3dg takes video networks, whose kernels have 5 axes. Received: "
            f"{tensors.names_in_file[STEM]} {list(stem)}. Take imagenet_inception_v1 for an image "
            "network."
        )
    gated = any("self_gating" in name for name in shapes)
    inferred = {
        "gating": "branch" if gated else "none",
        "stem_temporal_kernel": stem[0],
        "width_multiplier": width_of(shapes),
        "batch_norm_scale": "Conv2d_1a_7x7/BatchNorm/gamma" in shapes,
        "temporal_batch_norm": "Conv2d_2c_3x3/temporal/BatchNorm/beta" in shapes,
    }
    head = f"{HEAD}/weights" in shapes

    def slots(model: S3D) -> list[Slot]:
        result = [
            slot
            for place, layer in layers_of(model).items()
            for slot in layer_slots(place, layer, name_of(place))
        ]
        return result + (head_slots(model) if head else [])

    scaling = " and input_scaling (signed here, as its preprocessing; unit is [0, 1])"
    notes = [
        "no tensor determines batch_norm_epsilon (0.001 here, as TF-slim's arg_scope)"
        f"{scaling if stem[3] == 3 else ''}: `options` set what the training had"
    ]
    return Reading(
        tensors,
        "s3d",
        # At more than 224 x 224, TF-slim's pooling keeps its 7 x 7.
        {**ASSUMED, "head": "windows"},
        inferred,
        stream_of(stem[3]),
        shapes[f"{HEAD}/weights"][-1] if head else None,
        slots,
        ignorable_among(tensors),
        complete=lambda model: {} if head else fresh_classifier(),
        notes=notes,
        outside=outside,
    )


def select_scope(
    tensors: Tensors, scope: str | None, average: bool
) -> tuple[Tensors, dict[str, str]]:
    """The tensors of one network, by their names of today and without its scope; and the others.

    Args:
        tensors: of a TF1 checkpoint.
        scope, average: as `read_s3dg`.

    Returns:
        The network's tensors, moving averages in place of weights where they are wanted or alone;
        and what the file calls the tensors that are not of the network -> why.
    """
    known = {_name_of_today(name): name for name in tensors}
    stems = [name.removesuffix(_AVERAGE) for name in known]
    found = sorted({n.removesuffix(STEM) for n in stems if n == STEM or n.endswith("/" + STEM)})
    wanted = found if scope is None else [scope.strip("/") + "/" if scope.strip("/") else ""]
    if len(wanted) != 1 or wanted[0] not in found:
        received = "the scopes " + ", ".join(name.rstrip("/") or "''" for name in found)
        remedy = "Name one by `scope`."
        if not found:
            received = f"{len(tensors)} tensors, such as {', '.join(list(tensors)[:2])}"
            remedy = "Is it of this source?"
        raise InputError(
            f"A checkpoint of TF-slim holds one network, with a tensor SCOPE/{STEM}. Received: "
            f"{tensors.path} with {received}. {remedy}"
        )
    prefix = wanted[0]
    chosen: dict[str, str] = {}
    for name, in_file in known.items():
        short = name.removeprefix(prefix)
        # Without a scope, counters are among the network's tensors.
        counter = not prefix and not tensors.shapes[in_file] and "/" not in short
        if name.startswith(prefix) and not counter:
            chosen[short] = in_file
    averages = [short for short in chosen if short.endswith(_AVERAGE)]
    if average and not averages:
        raise InputError(
            f"`average` takes moving averages of the weights. Received: {tensors.path}, which has "
            "none. Leave it out."
        )
    for short in averages:
        plain = short.removesuffix(_AVERAGE)
        if plain in chosen and average:
            chosen[plain + _REPLACED] = chosen[plain]
        if plain not in chosen or average:
            chosen[plain] = chosen.pop(short)
    network = tensors.renamed(chosen)
    reason = f"outside the scope {prefix.rstrip('/')}" if prefix else "counters"
    return network, {name: reason for name in tensors.outside(network)}


def _name_of_today(name: str) -> str:
    """Variants' names as TF-slim's: 3-D layers that say so, and its misnomer in Mixed_5b."""
    name = name.replace("Conv3d_", "Conv2d_")
    return name.replace("Mixed_5b/Branch_2/Conv2d_0a_3x3", "Mixed_5b/Branch_2/Conv2d_0b_3x3")


def width_of(shapes: Mapping[str, tuple[int, ...]]) -> float:
    """The width multiplier of an Inception network of TF-slim."""
    names = {name: f"{name}/weights" for name in _WIDTHS}
    return infer_width(
        (_WIDTHS[name], shapes[kernel][-1]) for name, kernel in names.items() if kernel in shapes
    )


def ignorable_among(tensors: Tensors) -> Callable[[str], str | None]:
    """`Reading.ignorable` for a network of these tensors."""

    def ignorable(name: str) -> str | None:
        variable, _, kind = name.rpartition("/")
        if name.endswith(_AVERAGE):
            return "moving averages, which `average` takes"
        if name.endswith(_REPLACED):
            return "weights whose moving averages were taken"
        if (
            variable in tensors
        ):  # a TF1 variable is no scope, but for what training keeps next to it
            return "next to a variable, for training: of the optimizer or an average"
        if variable.endswith("/BatchNorm") and kind.startswith("renorm_"):
            return "of batch renormalisation, for training"
        return None

    return ignorable


def name_of(place: str) -> str:
    """`Mixed_3b.branch1.temporal` -> `Mixed_3b/Branch_1/Conv2d_0b_3x3/temporal`."""
    stage, *rest = place.split(".")
    if not rest:
        return stage
    if not rest[0].startswith("branch"):
        return _suffixed(stage, rest[0])
    number = rest[0].removeprefix("branch")
    last = {"0": "Conv2d_0a_1x1", "3": "Conv2d_0b_1x1"}.get(number, "Conv2d_0b_3x3")
    if number in "12" and rest[1] == "conv1x1":
        last = "Conv2d_0a_1x1"
    return _suffixed(f"{stage}/Branch_{number}/{last}", rest[1])


def _suffixed(name: str, layer: str) -> str:
    return name + {"temporal": "/temporal", "gating": "/self_gating/transformer_W"}.get(layer, "")


def layer_slots(place: str, layer: ConvUnit | FeatureGating, name: str) -> list[Slot]:
    """The slots of a convolution or gate that TF-slim calls `name`."""
    if isinstance(layer, FeatureGating):
        kernel = layer.gate.kernel
        return [Slot(f"{place}.kernel", kernel, (f"{name}/weights",), lambda t: t[0, 0, 0])]
    norm = {
        kind: f"{name}/BatchNorm/{kind}"
        for kind in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    return unit_slots(place, layer, f"{name}/weights", norm, f"{name}/biases")


def head_slots(model: VideoModel) -> list[Slot]:
    """The slots of the classifier, a 1 x 1 convolution."""
    head = model.classifier
    return [
        # [1, 1, (1,) features, classes]
        Slot("classifier.kernel", head.kernel, (f"{HEAD}/weights",), _matrix),
        Slot("classifier.bias", head.bias, (f"{HEAD}/biases",)),
    ]


def _matrix(kernel: np.ndarray) -> np.ndarray:
    if set(kernel.shape[:-2]) != {1}:
        raise ValueError("not a 1 x 1 convolution")
    return kernel.reshape(kernel.shape[-2:])
