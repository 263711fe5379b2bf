"""`perfnet transfer`: an S3D-G that begins with what an I3D knows."""

from __future__ import annotations

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.cli.view_flags import clip_to_see, define_clip_flags


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Makes an S3D-G or S3D that answers as an I3D does, in half its operations.

    Layers that both have are copied; each 3x3x3 convolution becomes a 1x3x3 and a 3x1x1 one,
    fitted to what it answers on clips of --data, whose labels nothing looks at (perfnet prepare
    --dataset=unlabelled). The result has the classes of --from and is a run like any other: a
    start for fit-classifier, train, distill and finetune.
    """
    clip_to_see(arguments)  # refuses what is wrong before anything is imported
    from perfnet_tf.transfer.transfer import CLIP, transfer

    run = transfer(
        arguments["from"].value,
        arguments.data,
        arguments.output,
        backbone=arguments.backbone,
        clip=clip_to_see(arguments, CLIP),
        num_clips=arguments.clips,
        places=arguments.places,
        batch_size=arguments.batch,
        seed=arguments.seed,
        progress=arguments.progress,
    )
    found = run.record["transferred"]
    print(
        f"{run.path}: {found['same_first_answer']:.1%} of clips that were held out get the same "
        f"first answer; correlation of logits {found['correlation_of_logits']:.3f}"
    )
    print(f"next: perfnet fit-classifier --from={run.path} --data={arguments.data} --output=DIR")
    return 0


COMMAND = Command("transfer", "--from=i3d_kinetics400 --data=DIR --output=RUN", _run)
COMMAND.string("from", None, "Pretrained network, run, or export that can be trained: an i3d(_g).")
COMMAND.string("data", None, "Prepared dataset; labels may be missing.")
COMMAND.string("output", None, "Folder of the run: new or empty.")
COMMAND.string("backbone", "s3d_g", "What to make.", choices=("s3d_g", "s3d"))
define_clip_flags(COMMAND, default="32x128x128 of every second frame")
COMMAND.integer("clips", 192, "Random views of training clips to look at.", argument="num_clips")
COMMAND.integer("places", 16384, "In feature maps, that each convolution is fitted to.")
COMMAND.integer("batch", 4, "Clips at once.", argument="batch_size")
COMMAND.integer("seed", 0, "Of views and places.")
COMMAND.boolean("progress", True, "Report progress.")
COMMAND.require("from", "data", "output")
