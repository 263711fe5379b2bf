"""`perfnet finetune`: a trained network on other data, by cross-entropy only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_experiment_flags,
    devices,
    preset_of,
    run_training,
)
from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

    from perfnet_tf.recognizers.run_directory import Run


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains a run, or an export that can be trained, further by cross-entropy only.

    Network and stream are those of --from, and so are the clips without --preset and --clip.
    Classes that both have by name keep their part of the classifier. Rerun the command to resume
    an interrupted run.

    --official_splits=all fine-tunes on every official split of UCF-101 or HMDB-51, prepared once
    with --official_split=all, and measures each on its own test clips: OUTPUT/runs/splitN are the
    networks, OUTPUT/metrics.json has the mean over the splits.
    """
    fold = arguments.validation_fold
    if fold is not None and arguments.official_splits is not None:
        raise InputError(
            "--official_splits trains on each official split as it is, and --validation_fold holds "
            f"out a part of --data. Received: both, --validation_fold={fold}. Leave one out."
        )
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.training.finetuning import finetuning_config

    strategy = devices(arguments)
    initial = load(arguments["from"].value, trainable=True)
    base = finetuning_config(initial.run().config, preset_of(arguments))
    config = apply_flags(arguments, base)
    if arguments.official_splits is not None:
        return _finetune_splits(arguments, config, initial.run(), strategy)
    return run_training(arguments, config, initial=initial, strategy=strategy)


def _finetune_splits(
    arguments: flags.FlagValues,
    config: ExperimentConfig,
    initial: Run,
    strategy: tf.distribute.Strategy,
) -> int:
    from perfnet_tf.datasets.official_splits import choose_splits
    from perfnet_tf.reproduction.finetuning import finetune_splits, write_split_metrics
    from perfnet_tf.reproduction.runner import Execution

    accuracies = finetune_splits(
        config,
        choose_splits(arguments.data, arguments.official_splits),
        arguments.output,
        initial,
        execution=Execution(
            strategy, arguments.jit_compile, arguments.deterministic, arguments.progress
        ),
    )
    path = write_split_metrics(accuracies, arguments.output)
    for number, split in accuracies.splits.items():
        print(
            f"split {number}  top-1 {split.top1:7.2%}  top-5 {split.top5:7.2%}  "
            f"({split.num_clips} test clips, {split.num_train} to train on)"
        )
    count = len(accuracies.splits)
    print(
        f"mean     top-1 {accuracies.top1.mean:7.2%}  top-5 {accuracies.top5.mean:7.2%}  "
        f"({count} split{'s' if count > 1 else ''})"
    )
    for note in accuracies.notes:
        print(f"note: {note}")
    print(f"written: {path}")
    return 0


COMMAND = Command("finetune", "--data=DIR --from=RUN_OR_SAVEDMODEL --output=RUN", _run)
define_experiment_flags(COMMAND, network=False)
COMMAND.string("from", None, "Run, or export that can be trained, whose weights are the first.")
COMMAND.string(
    "official_splits",
    None,
    "all, or numbers of official splits separated by commas: a run for each, and their mean.",
    argument="splits",
)
COMMAND.alias("splits", "official_splits")
COMMAND.require("data", "output", "from")
