"""`perfnet train`: one network on one stream."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_experiment_flags,
    preset_of,
    run_training,
)
from perfnet_tf.config import ExperimentConfig


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains a network on one stream: RGB, optical flow, or pose drawn on the frames.

    Stopped and given again, the command goes on where it stopped, and arrives where it would have
    arrived. OUTPUT/config.json is what ran, OUTPUT/history.csv has a row for each epoch.
    """
    base = preset_of(arguments) or ExperimentConfig()
    return run_training(arguments, apply_flags(arguments, base))


COMMAND = Command("train", "--data=DIR --stream=rgb|flow|pose --preset=NAME --output=RUN", _run)
COMMAND.string("stream", None, "rgb, flow or pose.")
define_experiment_flags(COMMAND, network=True)
COMMAND.require("data", "output", "stream")
