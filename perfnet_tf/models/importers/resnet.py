"""R3D50 from others: Model Garden's ResNet3D, and Keras' ResNet50, trained on images."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.features import FLOW
from perfnet_tf.models.importers.reading import Reading, infer_width, stream_of
from perfnet_tf.models.importers.slim import close_gate, fresh_classifier
from perfnet_tf.models.importers.tensors import Tensors, read_checkpoint, read_keras_h5
from perfnet_tf.models.importers.transfer import Slot, unit_slots
from perfnet_tf.models.inflation import (
    NEUTRAL_GATE,
    inflate_kernel,
    residual_scales,
    rgb_kernel_for_flow,
)
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.resnet3d import BLOCKS, TEMPORAL_KERNELS, Bottleneck, ResNet3D50
from perfnet_tf.models.video_model import VideoModel

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_NORM_KINDS = ("gamma", "beta", "moving_mean", "moving_variance")
#: Our layer of a cell -> Model Garden's convolution and batch norm.
_GARDEN_LAYERS = {
    "shortcut": ("_shortcut_conv", "_norm0"),
    "temporal": ("_temporal_conv", "_norm1"),
    "spatial": ("_spatial_conv", "_norm2"),
    "expand": ("_expand_conv", "_norm3"),
}
#: Our layer of a cell -> its number in Keras' ResNet50.
_KERAS_LAYERS = {"shortcut": 0, "temporal": 1, "spatial": 2, "expand": 3}


def read_model_garden(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """A TF2 checkpoint of tf-models-official's `ResNet3D`-50, alone or within its classifier.

    Args:
        path: see `read_checkpoint`.
        given: options that the user chose; `gating=block` puts the gates where Table 1 has them.
        scope: of the backbone within the checkpoint, such as `model/backbone`; None if there is
            but one.
        average: does nothing.

    Raises:
        InputError: not such a checkpoint.
    """
    tensors, prefix, head = _garden_tensors(read_checkpoint(path), scope)
    shapes = tensors.shapes
    kernels, index = [], 2
    for block in BLOCKS:
        names = [f"{index + i}/_temporal_conv/kernel" for i in range(block.cells)]
        kernels.append(tuple(shapes[name][0] if name in shapes else 0 for name in names))
        index += block.cells
    known = [name for name, sizes in TEMPORAL_KERNELS.items() if sizes == tuple(kernels)]
    gated = any("_self_gating" in name for name in shapes)
    inferred = {
        "gating": "block_residual" if gated else "none",
        "temporal_kernels": known[0] if known else tuple(kernels),
        "stem_temporal_kernel": shapes["0/kernel"][0],
        "width_multiplier": infer_width([(64, shapes["0/kernel"][-1])]),
    }
    options = {
        "batch_norm_momentum": 0.9,
        "batch_norm_epsilon": 1e-5,
        "stem_temporal_strides": (1, 1),
        "input_scaling": "signed",
    }
    notes = [
        "no tensor tells batch_norm_epsilon (1e-05 here, as Model Garden's Kinetics recipe; "
        "ResNet3D's own default is 0.001), stem_temporal_strides ([1,1] here; ResNet3D's own "
        "default is [2,2]) and input_scaling (signed here, as zero_centering_image; without it "
        "unit): --option=NAME=VALUE sets what the training had"
    ]
    if given.get("gating", "block_residual") not in ("block_residual", "none"):
        notes.append("the gates moved: the network has their weights, not its logits")

    def slots(model: VideoModel) -> list[Slot]:
        assert isinstance(model, ResNet3D50)
        result = unit_slots("conv1", model.conv1, "0/kernel", {k: f"1/{k}" for k in _NORM_KINDS})
        for number, (place, cell, gates) in enumerate(_cells(model), start=2):
            for name, unit in _units(cell):
                conv, norm = _GARDEN_LAYERS[name]
                names = {kind: f"{number}/{norm}/{kind}" for kind in _NORM_KINDS}
                result += unit_slots(f"{place}.{name}", unit, f"{number}/{conv}/kernel", names)
            for gate_place, gate in gates.items():
                source = f"{number}/_self_gating/_transformer_w"
                result += [
                    Slot(f"{gate_place}.kernel", gate.gate.kernel, (f"{source}/kernel",), _point),
                    Slot(f"{gate_place}.bias", gate.gate.bias, (f"{source}/bias",)),
                ]
        return result + (_head_slots(model, "head") if head else [])

    def ignorable(name: str) -> str | None:
        if name.startswith("other:"):
            return f"outside {prefix.rstrip('/') or 'the backbone'}: optimizer, counters"
        return None

    return Reading(
        tensors,
        "r3d50",
        options,
        inferred,
        stream_of(shapes["0/kernel"][3]),
        shapes["head/kernel"][-1] if head else None,
        slots,
        ignorable,
        complete=lambda model: {} if head else fresh_classifier(),
        notes=notes,
    )


def _garden_tensors(tensors: Tensors, scope: str | None) -> tuple[Tensors, str, bool]:
    """The tensors as `LAYER/...` and `head/...`; the backbone's place; whether there is a head."""
    mark = "layer_with_weights-2/_temporal_conv/kernel" + _VALUE
    found = sorted({name.removesuffix(mark) for name in tensors if name.endswith(mark)})
    wanted = found if scope is None else [scope.strip("/") + "/"]
    if len(wanted) != 1 or wanted[0] not in found:
        remedy = "Name one by --scope." if found else "Is it a SavedModel, or of another network?"
        raise InputError(
            "A TF2 checkpoint of Model Garden's ResNet3D holds one backbone, with a tensor "
            f"SCOPE/{mark.removesuffix(_VALUE)}. Received: {tensors.path} with "
            f"{len(found)} of them. {remedy}"
        )
    prefix = wanted[0]
    names, head = {}, set()
    for name in tensors:
        short = name.removesuffix(_VALUE)
        inside = re.fullmatch(rf"{re.escape(prefix)}layer_with_weights-(\d+)/(.*)", short)
        dense = re.fullmatch(r"(.*layer_with_weights-\d+|.*/classifier)/(kernel|bias)", short)
        if ".OPTIMIZER_SLOT" in name:
            names[f"other:{name}"] = name
        elif inside and not (dense and len(tensors.shapes[name]) <= 2 and _is_dense(tensors, name)):
            names[f"{inside[1]}/{inside[2]}"] = name
        elif dense and _is_dense(tensors, name):
            names[f"head/{dense[2]}"] = name
            head.add(dense[2])
        else:
            names[f"other:{name}"] = name
    return tensors.renamed(names), prefix, head == {"kernel", "bias"}


def _is_dense(tensors: Tensors, name: str) -> bool:
    """Whether `name` is the kernel or the bias of a layer whose kernel is a matrix."""
    kernel = re.sub(r"/bias(?=/\.ATTRIBUTES)", "/kernel", name)
    return len(tensors.shapes.get(kernel, ())) == 2


def read_keras_resnet50(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """Weights of `tf_keras.applications.ResNet50`, with or without its top, inflated to R3D50-G.

    The network keeps Keras' padding, stride and input range, so that a still clip gives the image
    network's activations. Gates are neutral and the layers before them doubled (`inflation`).

    Args:
        path: the `.h5` that Keras publishes, or what `save_weights` wrote in any format.
        given, scope, average: do nothing.

    Raises:
        InputError: not such a file.
    """
    tensors = _keras_tensors(pathlib.Path(path))
    shapes = tensors.shapes
    if len(shapes.get("conv1_conv/kernel", ())) != 4:
        raise InputError(
            "Weights of Keras' ResNet50 have conv1_conv/kernel with 4 axes. Received: "
            f"{path} with {len(tensors)} tensors, such as {', '.join(list(tensors)[:2])}."
        )
    head = "predictions/kernel" in shapes
    options = {
        "gating": "block",
        "padding": "symmetric",
        "stride_on": "temporal",
        "input_scaling": "caffe",
        "batch_norm_epsilon": 1.001e-5,
    }

    def slots(model: VideoModel) -> list[Slot]:
        assert isinstance(model, ResNet3D50)
        result = _inflated("conv1", model.conv1, "conv1", stem=model.stream)
        scales = [scale for block in model.blocks for scale in _scales(block.cells, block.gating)]
        for (place, cell, _), (entering, leaving) in zip(_cells(model), scales, strict=True):
            block, number = place.split(".")
            name = f"conv{block.removeprefix('res')}_block{number.removeprefix('cell')}"
            for layer, unit in _units(cell):
                scale = 1.0 if layer in ("temporal", "spatial") else leaving
                if layer == "expand" and cell.residual_gating is not None:
                    scale /= NEUTRAL_GATE
                result += _inflated(
                    f"{place}.{layer}",
                    unit,
                    f"{name}_{_KERAS_LAYERS[layer]}",
                    scale=scale,
                    entering=entering if layer == "temporal" else 1.0,
                )
        return result + (_head_slots(model, "predictions") if head else [])

    def complete(model: VideoModel) -> dict[str, str]:
        assert isinstance(model, ResNet3D50)
        initial = {} if head else fresh_classifier()
        for _, _, gates in _cells(model):
            for place, gate in gates.items():
                initial.update(close_gate(place, gate))
        return initial

    return Reading(
        tensors,
        "r3d50",
        options,
        {"width_multiplier": infer_width([(64, shapes["conv1_conv/kernel"][-1])])},
        None,
        shapes["predictions/kernel"][-1] if head else None,
        slots,
        lambda name: None,
        complete=complete,
        classes_without_head=1000,
        notes=["inflated as in I3D: kernels are repeated over their frames"],
    )


def _keras_tensors(path: pathlib.Path) -> Tensors:
    if path.suffix == ".h5" and not path.name.endswith(".weights.h5"):
        return read_keras_h5(path)
    if not path.is_file() and not path.with_name(path.name + ".index").is_file():
        raise InputError(f"There is no file of weights at {path}.")
    for top in (True, False):
        network = tf_keras.applications.ResNet50(weights=None, include_top=top)
        try:
            status = network.load_weights(str(path))
            if status is not None:
                status.assert_existing_objects_matched().expect_partial()
        except Exception:  # Keras has no one kind of error for a file of another network
            continue
        values = {
            f"{layer.name}/{weight.name.split('/')[-1].split(':')[0]}": weight.numpy()
            for layer in network.layers
            for weight in layer.weights
        }
        shapes = {name: value.shape for name, value in values.items()}
        return Tensors(path, shapes, values.__getitem__)
    raise InputError(
        f"Weights of tf_keras.applications.ResNet50 for 1000 classes, or without a top, were "
        f"expected. Received: {path}, which Keras cannot load into it."
    )


def _cells(
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


def _units(cell: Bottleneck) -> Iterator[tuple[str, ConvUnit]]:
    for name in ("shortcut", "temporal", "spatial", "expand"):
        unit = getattr(cell, name)
        if unit is not None:
            yield name, unit


def _scales(cells: list[Bottleneck], gating: FeatureGating | None) -> list[tuple[float, float]]:
    return residual_scales([cell.output_gating is not None for cell in cells], gating is not None)


def _inflated(
    place: str,
    unit: ConvUnit,
    name: str,
    *,
    scale: float = 1.0,
    entering: float = 1.0,
    stem: str | None = None,
) -> list[Slot]:
    """The slots of a convolution with bias and batch norm of images.

    Args:
        place, unit: ours.
        name: Keras', before `_conv` and `_bn`.
        scale: of the unit's output.
        entering: factor of its input, which the kernel undoes.
        stem: the stream, of the first convolution.
    """
    frames = unit.kernel_size[0] if isinstance(unit.kernel_size, (tuple, list)) else 1

    def kernel(tensor: np.ndarray) -> np.ndarray:
        if stem is not None:
            tensor = tensor[:, :, ::-1]  # Keras' ResNet50 sees blue first
        if stem == FLOW:
            # From flow's [-1, 1] to the range of pixels without their mean.
            tensor = rgb_kernel_for_flow(tensor) * 127.5
        return inflate_kernel(tensor / entering, frames)

    conv, norm = f"{name}_conv", f"{name}_bn"
    slots = unit_slots(
        place,
        unit,
        f"{conv}/kernel",
        {kind: f"{norm}/{kind}" for kind in _NORM_KINDS},
        convert=kernel,
    )
    result = []
    for slot in slots:
        kind = slot.target.split(".")[-1]
        if kind in ("gamma", "beta"):
            slot = Slot(slot.target, slot.variable, slot.sources, lambda tensor: tensor * scale)
        elif kind == "moving_mean":  # a bias before batch norm is a shift of the mean
            sources = (*slot.sources, f"{conv}/bias")
            slot = Slot(slot.target, slot.variable, sources, lambda mean, bias: mean - bias)
        result.append(slot)
    return result


def _point(kernel: np.ndarray) -> np.ndarray:
    return kernel[0, 0, 0]


def _head_slots(model: VideoModel, name: str) -> list[Slot]:
    return [
        Slot("classifier.kernel", model.classifier.kernel, (f"{name}/kernel",)),
        Slot("classifier.bias", model.classifier.bias, (f"{name}/bias",)),
    ]
