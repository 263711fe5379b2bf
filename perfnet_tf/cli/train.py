"""`perfnet train`: one network on one stream."""

from __future__ import annotations

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


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains a network on one stream: RGB, optical flow, pose drawn on the frames, or a plugin's.

    Rerun the command to resume an interrupted run; the result is the same. OUTPUT/config.json has
    the settings, OUTPUT/history.csv a row for each epoch.

    With --from the network starts from the weights of another run, of this stream or another: RGB's
    serve pose as they are, and flow averaged over colour. The network is that of --from, and so
    are the clips without --preset and --clip. Classes that both have by name keep their part of
    the classifier.
    """
    preset = preset_of(arguments)
    start = arguments["from"].value
    if start is None:
        return run_training(arguments, apply_flags(arguments, preset or ExperimentConfig()))
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.training.finetuning import continued_config

    strategy = devices(arguments)
    initial = load(start, trainable=True)
    base = continued_config(initial.run().config, arguments.stream, preset)
    config = apply_flags(arguments, base)
    return run_training(arguments, config, initial=initial, strategy=strategy)


COMMAND = Command("train", "--data=DIR --stream=rgb|flow|pose --preset=NAME --output=RUN", _run)
COMMAND.string("stream", None, "rgb, flow, pose, or a stream of a plugin.")
define_experiment_flags(COMMAND, network=True)
COMMAND.string("from", None, "Run, or export that can be trained, whose weights are the first.")
COMMAND.require("data", "output", "stream")
