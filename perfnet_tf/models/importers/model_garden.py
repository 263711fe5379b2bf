"""Model Garden's ResNet3D: a TF2 checkpoint into R3D50."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.garden_training import read_training
from perfnet_tf.models.importers.reading import Reading, infer_width, refuse_arguments, stream_of
from perfnet_tf.models.importers.resnet_layers import NORM_KINDS, cells_of, head_slots, units_of
from perfnet_tf.models.importers.tensors import TF2_VALUE, Tensors, read_checkpoint
from perfnet_tf.models.importers.transfer import Slot, fresh_classifier, unit_slots
from perfnet_tf.models.resnet3d import BLOCKS, TEMPORAL_KERNELS, ResNet3D50

#: Before the number of a layer; 0 and 1 are the first convolution and its batch norm.
_LAYER = "layer_with_weights-"
#: Our layer of a cell -> Model Garden's convolution and batch norm.
_GARDEN_LAYERS = {
    "shortcut": ("_shortcut_conv", "_norm0"),
    "temporal": ("_temporal_conv", "_norm1"),
    "spatial": ("_spatial_conv", "_norm2"),
    "expand": ("_expand_conv", "_norm3"),
}


def read_model_garden(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """A TF2 checkpoint of tf-models-official's `ResNet3D`-50, alone or within its classifier.

    Args:
        path: see `read_checkpoint`.
        given: options that the user chose; `gating=block` puts the gates where Table 1 has them.
        scope: of the backbone within the checkpoint, such as `model/backbone`; None if there is
            but one.
        average: not known to this source.

    Raises:
        InputError: not such a checkpoint.
    """
    refuse_arguments("model_garden_r3d50", average=average)
    tensors, outside, head = _garden_tensors(read_checkpoint(path), scope)
    training = read_training(tensors.path)
    shapes = tensors.shapes
    stem = shapes[f"{_LAYER}0/kernel"]
    kernels, index = [], 2
    for block in BLOCKS:
        names = [f"{_LAYER}{index + i}/_temporal_conv/kernel" for i in range(block.cells)]
        kernels.append(tuple(shapes[name][0] if name in shapes else 0 for name in names))
        index += block.cells
    known = [name for name, sizes in TEMPORAL_KERNELS.items() if sizes == tuple(kernels)]
    gated = any("_self_gating" in name for name in shapes)
    inferred = {
        "gating": "block_residual" if gated else "none",
        "temporal_kernels": known[0] if known else tuple(kernels),
        "stem_temporal_kernel": stem[0],
        "width_multiplier": infer_width([(64, stem[-1])]),
    }
    options = {
        "batch_norm_momentum": 0.9,
        "batch_norm_epsilon": 1e-5,
        "stem_temporal_strides": (1, 1),
        "input_scaling": "signed",
        **training.options,
    }
    notes = [
        f"batch norm, strides over time and input scaling are as in {training.file}"
        if training.file
        else "no tensor determines batch_norm_epsilon (1e-05 here, as Model Garden's Kinetics "
        "recipe; ResNet3D's own default is 0.001), stem_temporal_strides ([1,1] here, as paper; "
        "ResNet3D's own default, and the recipe's, is [2,2]) and input_scaling (signed here, as "
        "zero_centering_image; without it unit): `options` set what the training had, "
        "and so does the trainer's params.yaml next to the checkpoint"
    ]
    if given.get("gating", "block_residual") not in ("block_residual", "none"):
        notes.append("the gates moved: the network has their weights, not its logits")

    def slots(model: ResNet3D50) -> list[Slot]:
        result = unit_slots(
            "conv1", model.conv1, f"{_LAYER}0/kernel", {k: f"{_LAYER}1/{k}" for k in NORM_KINDS}
        )
        for number, (place, cell, gates) in enumerate(cells_of(model), start=2):
            block = f"{_LAYER}{number}"
            for name, unit in units_of(cell):
                conv, norm = _GARDEN_LAYERS[name]
                names = {kind: f"{block}/{norm}/{kind}" for kind in NORM_KINDS}
                result += unit_slots(f"{place}.{name}", unit, f"{block}/{conv}/kernel", names)
            for gate_place, gate in gates.items():
                source = f"{block}/_self_gating/_transformer_w"
                result += [
                    Slot(f"{gate_place}.kernel", gate.gate.kernel, (f"{source}/kernel",), _point),
                    Slot(f"{gate_place}.bias", gate.gate.bias, (f"{source}/bias",)),
                ]
        return result + (head_slots(model, "head") if head else [])

    return Reading(
        tensors,
        "r3d50",
        options,
        inferred,
        stream_of(stem[3]),
        shapes["head/kernel"][-1] if head else None,
        slots,
        lambda name: None,
        complete=lambda model: {} if head else fresh_classifier(),
        clip=training.clip or "64x224x224",
        notes=notes,
        outside=outside,
    )


def _garden_tensors(tensors: Tensors, scope: str | None) -> tuple[Tensors, dict[str, str], bool]:
    """The tensors as `layer_with_weights-N/...` and `head/...`; others -> why; is there a head?"""
    mark = "layer_with_weights-2/_temporal_conv/kernel" + TF2_VALUE
    found = sorted({name.removesuffix(mark) for name in tensors if name.endswith(mark)})
    wanted = found if scope is None else [scope.strip("/") + "/"]
    if len(wanted) != 1 or wanted[0] not in found:
        remedy = "Name one by `scope`." if found else "Is it a SavedModel, or of another network?"
        raise InputError(
            "A TF2 checkpoint of Model Garden's ResNet3D holds one backbone, with a tensor "
            f"SCOPE/{mark.removesuffix(TF2_VALUE)}. Received: {tensors.path} with "
            f"{len(found)} of them. {remedy}"
        )
    prefix = wanted[0]
    names, head = {}, set()
    for name in tensors:
        short = name.removesuffix(TF2_VALUE)
        inside = re.fullmatch(rf"{re.escape(prefix)}layer_with_weights-(\d+)/(.*)", short)
        dense = re.fullmatch(r"(.*layer_with_weights-\d+|.*/classifier)/(kernel|bias)", short)
        if ".OPTIMIZER_SLOT" in name:
            continue
        if inside:
            names[f"{_LAYER}{inside[1]}/{inside[2]}"] = name
        elif dense and _is_dense(tensors, name):
            names[f"head/{dense[2]}"] = name
            head.add(dense[2])
    network = tensors.renamed(names)
    reason = f"outside {prefix.rstrip('/') or 'the backbone'}: optimizer, counters"
    outside = {name: reason for name in tensors.outside(network)}
    return network, outside, head == {"kernel", "bias"}


def _is_dense(tensors: Tensors, name: str) -> bool:
    """Whether `name` is the kernel or the bias of a layer whose kernel is a matrix."""
    kernel = re.sub(r"/bias(?=/\.ATTRIBUTES)", "/kernel", name)
    return len(tensors.shapes.get(kernel, ())) == 2


def _point(kernel: np.ndarray) -> np.ndarray:
    return np.asarray(kernel[0, 0, 0])
