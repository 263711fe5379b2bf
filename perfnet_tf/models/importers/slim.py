"""TF-slim's checkpoints: S3D-G (also of D3D), and InceptionV1, trained on images."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.features import FLOW
from perfnet_tf.models.importers.reading import Reading, infer_width, stream_of
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.importers.tensors import Tensors, read_checkpoint
from perfnet_tf.models.importers.transfer import Slot, unit_slots
from perfnet_tf.models.inflation import (
    NEUTRAL_GATE,
    identity_kernel,
    inflate_kernel,
    rgb_kernel_for_flow,
)
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.s3d import S3D
from perfnet_tf.models.video_model import VideoModel

_STEM = "Conv2d_1a_7x7/weights"
_HEAD = "Logits/Conv2d_0c_1x1"
_AVERAGE = "/ExponentialMovingAverage"
#: What optimizers of TF1 keep beside a variable.
_OPTIMIZER = ("Momentum", "RMSProp", "RMSProp_1", "Adam", "Adam_1", "Adagrad", "Ftrl", "Ftrl_1")
#: Full channels of layers that tell the width.
_WIDTHS = {
    "Conv2d_1a_7x7": 64,
    "Conv2d_2c_3x3": 192,
    "Mixed_5b/Branch_1/Conv2d_0b_3x3": 320,
    "Mixed_5c/Branch_1/Conv2d_0b_3x3": 384,
}
#: What TF-slim's networks have and no tensor tells.
_ASSUMED = {"batch_norm_momentum": 0.999, "batch_norm_epsilon": 1e-3, "dropout_rate": 0.2}


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
    tensors, others = _scope(read_checkpoint(path), scope, average)
    shapes = tensors.shapes
    stem = shapes[_STEM]
    if len(stem) != 5:
        raise InputError(
            "slim_s3dg takes video networks, whose kernels have 5 axes. Received: "
            f"{_STEM} {list(stem)}. Take imagenet_inception_v1 for an image network."
        )
    gated = any("self_gating" in name for name in shapes)
    inferred = {
        "gating": "branch" if gated else "none",
        "stem_temporal_kernel": stem[0],
        "width_multiplier": _width(shapes),
        "batch_norm_scale": "Conv2d_1a_7x7/BatchNorm/gamma" in shapes,
        "temporal_batch_norm": "Conv2d_2c_3x3/temporal/BatchNorm/beta" in shapes,
    }
    head = f"{_HEAD}/weights" in shapes

    def slots(model: VideoModel) -> list[Slot]:
        assert isinstance(model, S3D)  # for the type checker: `backbone` below says so
        result = [
            slot
            for place, layer in layers_of(model).items()
            for slot in _layer_slots(place, layer, _name_of(place))
        ]
        return result + (_head_slots(model) if head else [])

    return Reading(
        tensors,
        "s3d",
        dict(_ASSUMED),
        inferred,
        stream_of(stem[3]),
        shapes[f"{_HEAD}/weights"][-1] if head else None,
        slots,
        _ignorable,
        complete=lambda model: {} if head else fresh_classifier(),
        notes=others,
    )


def read_inception_v1(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """TF-slim's InceptionV1 for images, inflated to S3D-G; arguments as in `read_s3dg`.

    Its temporal convolutions are the identity, so that the clip's ends matter in the first
    convolution only. Gates are neutral and the layers before them doubled (`inflation`), for which
    batch norms need a scale.
    """
    tensors, others = _scope(read_checkpoint(path), scope, average)
    shapes = tensors.shapes
    if len(shapes[_STEM]) != 4:
        raise InputError(
            "imagenet_inception_v1 takes image networks, whose kernels have 4 axes. Received: "
            f"{_STEM} {list(shapes[_STEM])}. Take slim_s3dg for a video network."
        )
    gating = given.get("gating", "branch")
    scaled = bool(given.get("batch_norm_scale", gating != "none"))
    if gating != "none" and not scaled:
        raise InputError(
            "Gates that leave an inflated network as it is need batch norms with a scale. "
            f"Received: gating={gating}, batch_norm_scale=false. Leave batch_norm_scale out, or "
            "take gating=none."
        )
    head = f"{_HEAD}/weights" in shapes
    has_gamma = "Conv2d_1a_7x7/BatchNorm/gamma" in shapes

    def slots(model: VideoModel) -> list[Slot]:
        assert isinstance(model, S3D)
        layers = layers_of(model)
        result = []
        for place, layer in layers.items():
            if isinstance(layer, FeatureGating) or place.endswith(".temporal"):
                continue
            name = _name_of(place)
            if f"{name}/weights" not in shapes:  # TF-slim's misnomer in Mixed_5b
                name = name.replace("Conv2d_0b_3x3", "Conv2d_0a_3x3")
            stem = place.startswith("Conv2d_1a")
            scale = _gate_scale(place, layers)
            for slot in _layer_slots(place, layer, name):
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
                    result.append(
                        Slot(slot.target, slot.variable, slot.sources, lambda t, s=scale: t * s)
                    )
                else:
                    result.append(slot)
        return result + (_head_slots(model) if head else [])

    def complete(model: VideoModel) -> dict[str, str]:
        assert isinstance(model, S3D)
        initial = {} if head else fresh_classifier()
        layers = layers_of(model)
        for place, layer in layers.items():
            scale = _gate_scale(place, layers)
            if isinstance(layer, FeatureGating):
                initial.update(close_gate(place, layer))
            elif place.endswith(".temporal"):
                initial.update(_set_identity(place, layer, scale))
            elif layer.norm.gamma is not None and not has_gamma:
                layer.norm.gamma.assign(np.full(layer.norm.gamma.shape, scale))
                initial[f"{place}.gamma"] = "a scale of 1, or of 2 before a gate"
        return initial

    options = {**_ASSUMED, "gating": "branch", "batch_norm_scale": scaled}
    inferred = {"width_multiplier": _width(shapes)}
    classes = shapes[f"{_HEAD}/weights"][-1] if head else None
    notes = [*others, "inflated as in I3D: the first kernel is repeated over its frames"]
    return Reading(
        tensors, "s3d", options, inferred, None, classes, slots, _ignorable,
        complete=complete, classes_without_head=1000, notes=notes,
    )  # fmt: skip


def _scope(tensors: Tensors, scope: str | None, average: bool) -> tuple[Tensors, list[str]]:
    """The tensors of one network, without its scope and averages; and a note on what else is."""
    names = [name.removesuffix(_AVERAGE) for name in tensors]
    found = sorted({name.removesuffix(_STEM) for name in names if name.endswith("/" + _STEM)})
    wanted = found if scope is None else [scope.strip("/") + "/"]
    if len(wanted) != 1 or wanted[0] not in found:
        scopes = ", ".join(name.rstrip("/") for name in found) or "none"
        remedy = "Name one by --scope." if found else "Is it of this source?"
        raise InputError(
            f"A checkpoint of TF-slim holds one network, with a tensor SCOPE/{_STEM}. Received: "
            f"{tensors.path} with the scopes {scopes}. {remedy}"
        )
    chosen, outside = {}, 0
    for name in tensors:
        if not name.startswith(wanted[0]):
            outside += 1
            continue
        short = name.removeprefix(wanted[0])
        plain = short.removesuffix(_AVERAGE)
        if short == plain:
            chosen.setdefault(plain, name)
            if average and f"{name}{_AVERAGE}" in tensors:
                chosen[plain], chosen[plain + "/replaced"] = f"{name}{_AVERAGE}", name
        elif plain not in chosen and wanted[0] + plain not in tensors:
            chosen[plain] = name
        elif not average:
            chosen[short] = name
    notes = [f"{outside} tensors outside the scope {wanted[0].rstrip('/')}"] if outside else []
    return tensors.renamed(chosen), notes


def _width(shapes: Mapping[str, tuple[int, ...]]) -> float:
    names = {name: f"{name}/weights" for name in _WIDTHS}
    return infer_width(
        (_WIDTHS[name], shapes[kernel][-1]) for name, kernel in names.items() if kernel in shapes
    )


def _ignorable(name: str) -> str | None:
    if name.endswith(_AVERAGE):
        return "moving averages, which --average takes"
    if name.endswith("/replaced"):
        return "weights whose moving averages were taken"
    if name.split("/")[-1] in _OPTIMIZER:
        return "of the optimizer"
    return None


def _name_of(place: str) -> str:
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


def _layer_slots(place: str, layer: ConvUnit | FeatureGating, name: str) -> list[Slot]:
    if isinstance(layer, FeatureGating):
        kernel = layer.gate.kernel
        return [Slot(f"{place}.kernel", kernel, (f"{name}/weights",), lambda t: t[0, 0, 0])]
    norm = {
        kind: f"{name}/BatchNorm/{kind}"
        for kind in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    return unit_slots(place, layer, f"{name}/weights", norm, f"{name}/biases")


def _head_slots(model: VideoModel) -> list[Slot]:
    head = model.classifier
    return [
        # [1, 1, (1,) features, classes]
        Slot("classifier.kernel", head.kernel, (f"{_HEAD}/weights",), _matrix),
        Slot("classifier.bias", head.bias, (f"{_HEAD}/biases",)),
    ]


def _matrix(kernel: np.ndarray) -> np.ndarray:
    if set(kernel.shape[:-2]) != {1}:
        raise ValueError("not a 1 x 1 convolution")
    return kernel.reshape(kernel.shape[-2:])


def fresh_classifier() -> dict[str, str]:
    """What the report says of a classifier that the file does not hold."""
    reason = "the classifier, at its initial value: the file has none that fits"
    return {"classifier.kernel": reason, "classifier.bias": reason}


def close_gate(place: str, gate: FeatureGating) -> dict[str, str]:
    """Sets a gate to 1/2 for every channel; returns what the report says of it."""
    initial = {}
    for variable in gate.gate.variables:
        variable.assign(np.zeros(variable.shape))
        kind = variable.name.split("/")[-1].split(":")[0]
        initial[f"{place}.{kind}"] = "gates, zero: 1/2, which the layer before makes up for"
    return initial


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
