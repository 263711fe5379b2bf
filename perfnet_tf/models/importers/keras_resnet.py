"""Keras' ResNet50, trained on images, inflated to R3D50-G."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tf_keras

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.reading import Reading, infer_width, refuse_arguments
from perfnet_tf.models.importers.resnet_layers import NORM_KINDS, cells_of, head_slots, units_of
from perfnet_tf.models.importers.tensors import Tensors, read_keras_h5
from perfnet_tf.models.importers.transfer import Slot, close_gate, fresh_classifier, unit_slots
from perfnet_tf.models.inflation import (
    NEUTRAL_GATE,
    inflate_kernel,
    residual_scales,
    rgb_kernel_for_flow,
)
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.resnet3d import Bottleneck, ResNet3D50
from perfnet_tf.streams import FLOW

#: Our layer of a cell -> its number in Keras' ResNet50.
_KERAS_LAYERS = {"shortcut": 0, "temporal": 1, "spatial": 2, "expand": 3}


def read_keras_resnet50(
    path: str | pathlib.Path, given: Mapping[str, Any], scope: str | None, average: bool
) -> Reading:
    """Weights of `tf_keras.applications.ResNet50`, with or without its top, inflated to R3D50-G.

    The network keeps Keras' padding, stride and input range, so that a still clip gives the image
    network's activations. Gates are neutral and the layers before them doubled (`inflation`).

    Args:
        path: the `.h5` that Keras publishes, or what `save_weights` wrote in any format.
        given: does nothing.
        scope, average: not known to this source.

    Raises:
        InputError: not such a file.
    """
    refuse_arguments("imagenet_resnet50", scope=scope, average=average)
    tensors = _keras_tensors(pathlib.Path(path))
    shapes = tensors.shapes
    if len(shapes.get("conv1_conv/kernel", ())) != 4:
        raise InputError(
            "Weights of Keras' ResNet50 have conv1_conv/kernel with 4 axes. Received: "
            f"{path} with {len(tensors)} tensors, such as {', '.join(list(tensors)[:2])}."
        )
    # Keras has called it predictions, probs and fc1000; a custom top has any name.
    matrices = [name for name, shape in shapes.items() if len(shape) == 2]
    head = matrices[0].rpartition("/")[0] if len(matrices) == 1 else None
    options = {
        "gating": "block",
        "padding": "symmetric",
        "stride_on": "temporal",
        "input_scaling": "caffe",
        "batch_norm_epsilon": 1.001e-5,
    }

    def slots(model: ResNet3D50) -> list[Slot]:
        result = _inflated("conv1", model.conv1, "conv1", stem=model.stream)
        scales = [scale for block in model.blocks for scale in _scales(block.cells, block.gating)]
        for (place, cell, _), (entering, leaving) in zip(cells_of(model), scales, strict=True):
            block, number = place.split(".")
            name = f"conv{block.removeprefix('res')}_block{number.removeprefix('cell')}"
            for layer, unit in units_of(cell):
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
        return result + (head_slots(model, head) if head else [])

    def complete(model: ResNet3D50) -> dict[str, str]:
        initial = {} if head else fresh_classifier()
        for _, _, gates in cells_of(model):
            for place, gate in gates.items():
                initial.update(close_gate(place, gate))
        return initial

    return Reading(
        tensors,
        "r3d50",
        options,
        {"width_multiplier": infer_width([(64, shapes["conv1_conv/kernel"][-1])])},
        None,
        shapes[f"{head}/kernel"][-1] if head else None,
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
        {kind: f"{norm}/{kind}" for kind in NORM_KINDS},
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
