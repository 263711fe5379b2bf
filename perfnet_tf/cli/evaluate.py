"""`perfnet evaluate`: accuracy of one network, or of several fused."""

from __future__ import annotations

from typing import Any

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.network_flags import (
    check_one_network,
    define_network_flags,
    load_named_network,
)
from perfnet_tf.cli.view_flags import (
    clip_to_see,
    define_clip_flags,
    define_view_flag,
    windows_and_crops,
)

#: Of `metrics.json`, and what the summary calls them.
_FIGURES = (
    ("mAP", "mAP"),
    ("top1", "top-1"),
    ("top5", "top-5"),
    ("mean_class_accuracy", "per class"),
)


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Accuracy of networks on a split of prepared data: one central crop per video, or --views.

    A network is a run, a SavedModel, or a TF Hub or Kaggle handle; a SavedModel that is not of
    perfnet export needs --stream, --classes and --clip. Loading a SavedModel runs code from it: use
    models that you trust. Several networks are evaluated each on its own stream, and fused by the
    sum of their logits. OUTPUT gets metrics.json, per_class.csv, predictions.csv, confusion.png and
    logits.npz. Where clips have several labels, mAP takes the place of the accuracy per class, and
    there is no confusion.png.
    """
    clip_to_see(arguments)  # refuses what is wrong before anything is loaded
    windows, crops = windows_and_crops(arguments)
    check_one_network(arguments, arguments.models)
    from perfnet_tf.evaluation.protocol import evaluate_runs
    from perfnet_tf.recognizers.load import load

    networks = [load_named_network(arguments, handle) for handle in arguments.models]
    result = evaluate_runs(
        [load(network, clip=clip_to_see(arguments, network.clip)) for network in networks],
        arguments.data,
        arguments.output,
        split=arguments.split,
        batch_size=arguments.batch,
        windows=windows,
        crops=crops,
        progress=arguments.progress,
    )
    print(_summary(result))
    return 0


def _summary(result: dict[str, Any]) -> str:
    rows = [(run["name"], f"{run['stream']} {run['clip']}", run) for run in result["runs"]]
    if result["fusion"]:
        rows.append(("all of them", result["fusion"], result))
    name_width = max(len(name) for name, _, _ in rows)
    note_width = max(len(note) for _, note, _ in rows)
    lines = [
        f"{name:<{name_width}}  {note:<{note_width}}  "
        + "  ".join(f"{title} {values[key]:7.2%}" for key, title in _FIGURES if key in values)
        for name, note, values in rows
    ]
    views = result["windows"] * result["crops"]
    lines.append(
        f"{result['num_clips']} clips of {result['dataset']}, split {result['split']}"
        + (f"; means of {views} views of each" if views > 1 else "")
    )
    if result["num_failed"]:
        lines.append(
            f"note: {result['num_failed']} clips of the dataset (all splits) could not be read "
            "when it was prepared, and are not counted"
        )
    return "\n".join(lines)


COMMAND = Command("evaluate", "--models=RUN[,RUN...] --data=DIR --output=DIR", _run)
COMMAND.list("models", [], "Runs, SavedModels or Hub handles, separated by commas.")
define_network_flags(COMMAND)
COMMAND.string("data", None, "Prepared dataset.")
COMMAND.string("output", None, "Folder to write to.")
COMMAND.string("split", "test", "Split of the dataset.")
COMMAND.integer("batch", 8, "Clips at once.", argument="batch_size")
define_clip_flags(COMMAND)
define_view_flag(COMMAND)
COMMAND.boolean("progress", True, "Report progress.")
COMMAND.alias("runs", "models")
COMMAND.require("models", "data", "output")
