"""From named tensors to a network's variables: all of them, or a refusal that says why."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.tensors import Tensors
from perfnet_tf.models.layers import ConvUnit, FeatureGating
from perfnet_tf.models.video_model import VideoModel


@dataclass(frozen=True, eq=False)
class Slot:
    """A variable and where its value comes from.

    Attributes:
        target: the variable's place in the network, such as `res2.cell1.spatial.kernel`.
        variable: of the network.
        sources: names of the tensors in the file that make it.
        convert: from those tensors to the value; it fixes the shape that fits.
    """

    target: str
    variable: tf.Variable
    sources: tuple[str, ...]
    convert: Callable[..., np.ndarray] = lambda tensor: tensor


@dataclass
class ImportReport:
    """What became of every tensor.

    Attributes:
        source, weights: which importer read which file.
        backbone, stream, options: the network.
        used: `target`, `source` and `shape` of every variable that the file filled.
        initial: variables that the file does not fill -> what they hold.
        unused: tensors of the file that no variable took -> why.
        notes: what no tensor can say, such as the range of the input, and what was assumed.
    """

    source: str
    weights: str
    backbone: str
    stream: str
    options: dict[str, Any]
    used: list[dict[str, Any]] = field(default_factory=list)
    initial: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The report as indented JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def summary(self) -> str:
        """The report in a few lines, tensors of one reason counted together."""
        lines = [
            f"{self.source}: {len(self.used)} variables of {self.backbone} ({self.stream}) filled "
            f"from {self.weights}"
        ]
        shown = " ".join(f"{name}={json.dumps(value)}" for name, value in self.options.items())
        lines.append(f"  options: {shown or 'all at their defaults'}")
        lines += [f"  {len(names)} left: {reason}" for reason, names in _grouped(self.initial)]
        lines += [f"  {len(names)} unused: {reason}" for reason, names in _grouped(self.unused)]
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def _grouped(reasons: Mapping[str, str]) -> Iterable[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault(reason, []).append(name)
    return groups.items()


def unit_slots(
    target: str,
    unit: ConvUnit,
    kernel: str,
    norm: Mapping[str, str],
    bias: str | None = None,
    convert: Callable[[np.ndarray], np.ndarray] = lambda tensor: tensor,
) -> list[Slot]:
    """The slots of a convolution and its batch norm or bias.

    Args:
        target: of the unit.
        unit: built.
        kernel: tensor of the kernel; `convert` brings it to
            `[frames, height, width, channels, filters]`.
        norm: `gamma`, `beta`, `moving_mean`, `moving_variance` -> tensor.
        bias: tensor of the bias, of a unit without batch norm.
        convert: of the kernel.
    """
    slots = [Slot(f"{target}.kernel", unit.conv.kernel, (kernel,), convert)]
    if unit.norm is None:
        return [*slots, Slot(f"{target}.bias", unit.conv.bias, (str(bias),), as_vector)]
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    for name in names:
        variable = getattr(unit.norm, name)
        if variable is not None:
            slots.append(Slot(f"{target}.{name}", variable, (norm[name],), as_vector))
    return slots


def as_vector(tensor: np.ndarray) -> np.ndarray:
    """`[channels]` of a tensor that keeps the axes it was averaged over: `[1, 1, 1, 1, channels]`.

    TF-slim's batch norm of 5 axes did so before it was fused.
    """
    return tensor.reshape(-1) if set(tensor.shape[:-1]) == {1} else tensor


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


def transfer(
    slots: Sequence[Slot],
    tensors: Tensors,
    model: VideoModel,
    report: ImportReport,
    *,
    hint: str,
    ignorable: Callable[[str], str | None],
) -> None:
    """Fills the slots' variables and writes down what happened.

    Args:
        slots: in the order of the network: the first that does not fit is the one reported.
        tensors: of the file.
        model: whose variables the slots are; those without a slot are in `report.initial` before.
        report: `used` and `unused` are filled.
        hint: what to change if the file does not fit.
        ignorable: from the name of a tensor to why nobody needs it, or None if its absence from
            the network would be a loss.

    Raises:
        InputError: a tensor is missing, has another shape or a value that is not finite, or the
            file has weights that the network has no place for.
    """
    for slot in slots:
        _check_shape(slot, tensors, model, hint)
    taken = {name for slot in slots for name in slot.sources}
    for name in sorted(set(tensors) - taken):
        reason = ignorable(name)
        if reason is None:
            raise InputError(
                f"The file does not fit {model.backbone}: it holds {tensors.names_in_file[name]} "
                f"{list(tensors.shapes[name])}, for which the network has no place. {hint}"
            )
        report.unused[tensors.names_in_file[name]] = reason
    filled = {id(slot.variable) for slot in slots}
    lost = [v.name for v in model.variables if id(v) not in filled]
    if len(lost) != len(report.initial):
        raise RuntimeError(f"The importer overlooks {len(lost)} variables, such as {lost[:3]}.")
    for slot in slots:
        value = np.asarray(slot.convert(*(tensors[name] for name in slot.sources)), np.float32)
        if not np.isfinite(value).all():
            raise InputError(
                f"Weights are finite numbers. Received: NaN or infinity in "
                f"{tensors.names_in_file[slot.sources[0]]} of {tensors.path}."
            )
        slot.variable.assign(value)
        report.used.append(
            {
                "target": slot.target,
                "source": " ".join(tensors.names_in_file[name] for name in slot.sources),
                "shape": list(slot.variable.shape),
            }
        )


def _check_shape(slot: Slot, tensors: Tensors, model: VideoModel, hint: str) -> None:
    wanted = list(slot.variable.shape)
    for name in slot.sources:
        if name not in tensors:
            raise InputError(
                f"The file does not fit {model.backbone}: it has no {name}, which would be "
                f"{slot.target} {wanted}. {hint}"
            )
    raw = [tensors.shapes[name] for name in slot.sources]
    try:
        # Zeros that take no memory: a conversion moves axes and repeats, whatever the values.
        found = list(slot.convert(*(np.broadcast_to(np.float32(0), shape) for shape in raw)).shape)
    except (ValueError, IndexError):
        found = list(raw[0])
    if found != wanted:
        turned = "" if found == list(raw[0]) else f", here {found}"
        raise InputError(
            f"The file does not fit {model.backbone}: {tensors.names_in_file[slot.sources[0]]} "
            f"is {list(raw[0])}{turned}, {slot.target} is {wanted}. {hint}"
        )
