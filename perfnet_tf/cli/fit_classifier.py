"""`perfnet fit-classifier`: other classes on a network that stays as it is."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.experiment_flags import (
    define_validation_flag,
    note_mirrored_sides,
    training_data,
)
from perfnet_tf.cli.view_flags import (
    clip_to_see,
    define_clip_flags,
    define_view_flag,
    windows_and_crops,
)
from perfnet_tf.config import CLASS_WEIGHTS


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Fits a classifier of other classes to the features of a network, which is not changed.

    Each training clip passes the network once per view, so that this takes minutes on a CPU,
    where perfnet finetune takes hours. It is hard to beat where a class has few clips. The result
    is a run like any other: evaluate it, predict with it, fine-tune or export it. Rerun the
    command to resume an interrupted run.
    """
    windows, crops = windows_and_crops(arguments)
    clip_to_see(arguments)  # refuses what is wrong before anything is loaded
    note_mirrored_sides(arguments, mirror=arguments.mirror)
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.training.classifier_fitting import fit_classifier

    network = load(arguments["from"].value, trainable=True, folded=True)
    run = fit_classifier(
        network,
        training_data(arguments),
        arguments.output,
        clip=clip_to_see(arguments, network.clip),
        windows=windows,
        crops=crops,
        mirror=arguments.mirror,
        class_weights=arguments.class_weights,
        decay=arguments.decay,
        unlabelled=arguments.unlabelled,
        batch_size=arguments.batch,
        progress=arguments.progress,
    )
    fitted = run.record["fitted"]
    held_out = fitted.get("held_out", {}).get(f"{fitted['decay']:g}")
    answered = "" if held_out is None else f"; {held_out['top1']:.1%} of held-out clips answered"
    others = sum(fitted.get("unlabelled", {}).values())
    added = f"; {others} clips without labels added" if others else ""
    print(f"{run.path}: decay {fitted['decay']:g}{answered}{added}")
    print(f"next: perfnet evaluate --models={run.path} --data={arguments.data} --output=DIR")
    return 0


COMMAND = Command("fit-classifier", "--data=DIR --from=RUN --output=RUN", _run)
COMMAND.string("data", None, "Prepared dataset.")
COMMAND.string("from", None, "Pretrained network, run, or export that can be trained.")
COMMAND.string("output", None, "Folder of the run: new, empty, or of this very run, to resume it.")
define_validation_flag(COMMAND)
define_clip_flags(COMMAND)
define_view_flag(COMMAND, purpose="of each training video, each an example")
COMMAND.boolean(
    "mirror", True, "Every view mirrored as well; turn off if classes tell left from right."
)
COMMAND.string(
    "class_weights", "none", "balanced: uneven classes weigh the same.", choices=CLASS_WEIGHTS
)
COMMAND.number(
    "decay", None, "Of the classifier; without it, chosen on recordings that are held out in turn."
)
COMMAND.string(
    "unlabelled",
    None,
    "Prepared clips of these classes, in about the same shares, whose labels are not known: "
    "labelled by the classifier, which is then fitted to them as well.",
)
COMMAND.integer("batch", 4, "Clips at once.", argument="batch_size")
COMMAND.boolean("progress", True, "Report progress.")
COMMAND.require("data", "from", "output")
