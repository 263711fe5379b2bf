"""What travels with an exported model: its origin and the input it expects."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError

LABELS_FILE = "labels.txt"
INFO_FILE = "model.json"
#: TensorFlow's folder for files that travel with a SavedModel and that its graph does not read.
GOLDEN_FILE = "assets.extra/golden.npz"
FORMAT = 1
#: SPDX name; of weights that do not say another.
DEFAULT_LICENSE = "Apache-2.0"

PAPER = {
    "title": "PERF-Net: Pose Empowered RGB-Flow Net",
    "authors": "Yinxiao Li, Zhichao Lu, Xuehan Xiong, Jonathan Huang",
    "arxiv": "2009.13087",
}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """The origin of an exported model and the input it expects: `model.json`.

    Attributes:
        experiment: the run's configuration: stream, network, clips, optimisation.
        dataset: `name`, `fps`, `short_side`, `square_pixels` and `versions` (of the libraries that
            made them) of the records it was trained on; empty if unknown. Of clips with several
            labels also `label_kind`, `multi`: `probabilities` are then the sigmoid of `logits`.
        metrics: such as `top1`, `top5`, `num_clips`; empty if it was not evaluated.
        license: SPDX name of the weights' licence.
        pretrained: of the published weights that it has, or was `trained_further` from: `name`,
            `summary`, `publisher`, `license`, `citation`, `training_data`; empty without.
        inference_precision: what a frozen network computes in; None for one that can be trained.
        parity: what was exported -> largest difference of its logits from the trained network's,
            as a share of the largest logit; measured at export.
        quantization: of fully quantised files: `calibration` (`kind`, `name`, `split` and
            `num_clips`), and what `measure_quantized` gave; empty without.
        tflite_shapes: signature of the TFLite files -> the shape of its `frames`,
            `[batch, frames, height, width, channels]`: they take no other; empty without.
        versions: of perfnet_tf, tensorflow and tf_keras at export.
        format: of this file.
    """

    experiment: ExperimentConfig
    dataset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    license: str = DEFAULT_LICENSE
    pretrained: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inference_precision: str | None = None
    parity: Mapping[str, float] = dataclasses.field(default_factory=dict)
    quantization: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tflite_shapes: Mapping[str, Sequence[int]] = dataclasses.field(default_factory=dict)
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    format: int = FORMAT

    def to_json(self) -> str:
        """Indented JSON text."""
        values = {**dataclasses.asdict(self), "paper": PAPER}
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelInfo:
        """Reads what `to_json` wrote.

        Raises:
            InputError: not such a file, or one of a later version of this package.
        """
        try:
            values = json.loads(text)
            values.pop("paper", None)
            if values["format"] != FORMAT:
                raise InputError(
                    f"{INFO_FILE} must have format {FORMAT}. Received: {values['format']!r}. "
                    "Load it with the version of perfnet_tf that wrote it."
                )
            experiment = ExperimentConfig.from_json(json.dumps(values.pop("experiment")))
            return cls(experiment=experiment, **values)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{INFO_FILE} is not what perfnet export writes: {error!r}. Export the run again."
            ) from error


def read_info(path: str | os.PathLike[str]) -> ModelInfo:
    """What travels with the export in folder `path`; raises as `ModelInfo.from_json`."""
    return ModelInfo.from_json((pathlib.Path(path) / "assets" / INFO_FILE).read_text())


def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What `metrics.json` of `perfnet evaluate` says of one run, for `ModelInfo.metrics`.

    Raises:
        InputError: no such file, or the metrics of several runs fused.
    """
    try:
        values = json.loads(pathlib.Path(path).read_text())
        num_runs = len(values["runs"])
        summary = "mAP" if "mAP" in values else "mean_class_accuracy"
        kept = ("top1", "top5", summary, "num_clips", "dataset", "split")
        result = {**{key: values[key] for key in kept}, "clip": values["runs"][0]["clip"]}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"A metrics.json of perfnet evaluate was expected. Received: {path} ({error!r})."
        ) from error
    if num_runs != 1:
        raise InputError(
            "The metrics must be of the one run that is exported. "
            f"Received: {path}, of {num_runs} runs fused. Evaluate this run alone."
        )
    return result


def describe_quantization(quantization: Mapping[str, Any]) -> list[str]:
    """Lines that say on what files were quantised and what it cost; none without such files."""
    if not quantization:
        return []
    data = quantization["calibration"]
    place = f", split {data['split']}" if "split" in data else ""
    lines = [f"Quantised on {data['num_clips']} clips of {data['name']} ({data['kind']}{place})."]
    clips = quantization["num_clips"]
    measured = f" of split {quantization['split']}" if "split" in quantization else ""
    accuracy = quantization["accuracy"]
    for name, same in quantization["same_answers"].items():
        line = f"{name}: {same} of {clips} clips{measured} have the float network's answer"
        if accuracy:
            top1, of_floats = (accuracy[key]["top1"] for key in (name, "float32"))
            line += f"; top-1 {top1:.1%}, in float32 {of_floats:.1%}"
        lines.append(line + ".")
    return lines
