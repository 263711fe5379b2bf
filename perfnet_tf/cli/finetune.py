"""`perfnet finetune`: a trained network on other data, by cross-entropy only."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_experiment_flags,
    load_initial,
    preset_of,
    run_training,
)
from perfnet_tf.config import TrainConfig

#: PERF-Net Sec. 4.4: 30 epochs. The paper gives neither rate nor batch; mmaction2's UCF-101 recipe
#: has 0.005.
DEFAULT_TRAIN = TrainConfig(epochs=30, batch_size=32, learning_rate=0.005)


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Goes on from the weights of a run or SavedModel, by cross-entropy only.

    Network and stream are those of --from, and so are the clips without --preset and --clip. Where
    the classes differ the classifier starts afresh. Stopped and given again, the command goes on.
    """
    initial = load_initial(arguments["from"].value)
    theirs = initial.config
    base = preset_of(arguments) or theirs.replace(train=DEFAULT_TRAIN)
    base = base.replace(
        stream=theirs.stream, model=theirs.model, pose_render=theirs.pose_render, distill=None
    )
    return run_training(arguments, apply_flags(arguments, base), initial=initial)


COMMAND = Command("finetune", "--data=DIR --from=RUN_OR_SAVEDMODEL --output=RUN", _run)
define_experiment_flags(COMMAND, network=False)
flags.DEFINE_string(
    "from", None, "Run or SavedModel whose weights are the first.", flag_values=COMMAND.flags
)
COMMAND.require("data", "output", "from")
