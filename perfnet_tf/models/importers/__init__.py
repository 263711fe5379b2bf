"""Weights that others publish, in networks of this package."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.config import ClipConfig, ExperimentConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.factory import build_model, config_of_options, list_options
from perfnet_tf.models.importers.inception import read_inception_v1
from perfnet_tf.models.importers.keras_resnet import read_keras_resnet50
from perfnet_tf.models.importers.kinetics_i3d import read_kinetics_i3d
from perfnet_tf.models.importers.model_garden import read_model_garden
from perfnet_tf.models.importers.reading import Reading
from perfnet_tf.models.importers.slim import read_s3dg
from perfnet_tf.models.importers.torchvision import read_s3d
from perfnet_tf.models.importers.transfer import ImportReport, transfer
from perfnet_tf.models.input_normalization import INPUT_SCALINGS
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import RGB, STREAMS

#: Source -> the importer that reads it.
SOURCES: dict[str, Callable[..., Reading]] = {
    "model_garden_r3d50": read_model_garden,
    "torchvision_s3d": read_s3d,
    "slim_s3dg": read_s3dg,
    "kinetics_i3d": read_kinetics_i3d,
    "imagenet_inception_v1": read_inception_v1,
    "imagenet_resnet50": read_keras_resnet50,
}


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A network with others' weights.

    Attributes:
        model: built.
        config: of a run with it.
        classes: names of the logits.
        named: whether they are names, rather than `class_0000`, `class_0001`, ...
        report: what became of every tensor.
    """

    model: VideoModel
    config: ExperimentConfig
    classes: tuple[str, ...]
    named: bool
    report: ImportReport


def import_model(
    source: str,
    weights: str | pathlib.Path,
    *,
    stream: str | None = None,
    classes: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    clip: ClipConfig | None = None,
    scope: str | None = None,
    average: bool = False,
) -> ImportedModel:
    """Reads others' weights into a network.

    What the file determines (classes, width, temporal kernels, gates) is taken from
    it; what no tensor determines is the source's usual value, and in the report's notes.

    Args:
        source: key of `SOURCES`.
        weights: the file, or prefix of a checkpoint.
        stream: what the network sees; None takes what the first convolution's channels say.
        classes: names of the file's classes in the order of its logits; None takes those that the
            source is known to have, or makes up `class_0000`, `class_0001`, ...
        options: of the backbone, in place of what was read or assumed.
        clip: of the run's configuration; None takes what the source's networks were trained on.
        scope: of the network within a file that holds several.
        average: whether to take moving averages of the weights where a file has both.

    Raises:
        InputError: no such file, or it does not fit: with the first tensor that does not, both
            shapes, and the option that would make it fit.
    """
    check_choice("`source`", source, SOURCES)
    given = {name: _frozen(value) for name, value in (options or {}).items()}
    reading = SOURCES[source](weights, given, scope, average)
    if stream is not None:
        check_choice("`stream`", stream, STREAMS)
    used = {**reading.options, **reading.inferred, **given}
    used_stream = stream or reading.stream or RGB
    backbone = reading.backbone if used["gating"] == "none" else f"{reading.backbone}_g"
    for name in given:
        check_choice(f"An option of {backbone}", name, list_options(backbone))
    num_classes = reading.num_classes
    if num_classes is None:
        num_classes = len(classes) if classes else reading.classes_without_head
    known = classes if classes is not None else reading.classes
    names = _class_names(known, num_classes)

    model = build_model(backbone, num_classes, used_stream, **used)
    defaults = list_options(backbone)
    changed = {name: value for name, value in used.items() if value != defaults[name]}
    report = ImportReport(source, str(weights), backbone, used_stream, changed)
    report.notes += [_input_note(model), *reading.notes]
    report.unused.update(reading.outside)
    report.initial = reading.complete(model)
    hint = _hint(reading, used, used_stream)
    transfer(
        reading.slots(model), reading.tensors, model, report,
        hint=hint, ignorable=reading.ignorable,
    )  # fmt: skip
    config = ExperimentConfig(
        stream=used_stream,
        clip=clip or ClipConfig.parse(reading.clip),
        model=config_of_options(backbone, used),
    )
    return ImportedModel(model, config, names, known is not None, report)


def _frozen(value: Any) -> Any:
    """Lists as tuples."""
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _class_names(classes: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    if classes is None:
        return tuple(f"class_{index:04d}" for index in range(num_classes))
    if len(classes) != num_classes:
        raise InputError(
            "There is one name for each logit. "
            f"Received: {len(classes)} names, {num_classes} logits in the file."
        )
    return tuple(classes)


def _hint(reading: Reading, used: Mapping[str, Any], stream: str) -> str:
    """Where the file's shapes contradict the options in use."""
    wrong = {name: value for name, value in reading.inferred.items() if used[name] != value}
    if wrong.get("gating") == "block_residual" and used["gating"] == "block":
        del wrong["gating"]  # the same gates elsewhere
    fitting = [f"`options` {name}={json.dumps(value)}" for name, value in wrong.items()]
    if reading.stream is not None and (reading.stream == "flow") != (stream == "flow"):
        fitting.append(f"`stream` {reading.stream}")
    if not fitting:
        return "No option makes it fit: it is of another network than its source's."
    return f"It would fit with {', '.join(fitting)}."


def _input_note(model: VideoModel) -> str:
    if model.stream == "flow":
        return "input: flow in pixels per frame, clipped to +-20 and fed to the network as [-1, 1]"
    mean, deviation = INPUT_SCALINGS[model.input_scaling]
    low = [-center / scale for center, scale in zip(mean, deviation, strict=True)]
    high = [(1 - center) / scale for center, scale in zip(mean, deviation, strict=True)]
    ranges = ", ".join(f"[{a:.4g}, {b:.4g}]" for a, b in zip(low, high, strict=True))
    shown = ranges.split("], ")[0].rstrip("]") + "]" if len(set(low)) == 1 else ranges
    return (
        f"input: {model.stream} frames in [0, 1], fed to the network as {shown} "
        f"(input_scaling={model.input_scaling})"
    )
