"""`perfnet convert`: stored keypoints in the formats of other programs."""

from __future__ import annotations

import sys

from absl import flags

from perfnet_tf.cli.command import Command


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Writes the keypoints of prepared records to a file that other programs read.

    --keypoints=pyskl makes a skeleton pickle for PYSKL and MMAction2 with the splits of the
    records, and --keypoints=coco an annotation JSON. Coordinates are pixels of the stored frames.
    perfnet prepare reads both again (--pose=pyskl, --pose=coco): PYSKL's to the bit, COCO's to a
    thousandth of a pixel.
    """
    from tqdm import tqdm

    from perfnet_tf.records.keypoint_export import export_keypoints

    number = export_keypoints(
        arguments.data,
        arguments.output,
        arguments.keypoints,
        splits=arguments.split or None,
        progress=lambda clips: iter(
            tqdm(clips, desc="convert", unit="clip", disable=not sys.stderr.isatty())
        ),
    )
    print(f"{arguments.output}: keypoints of {number} clips")
    return 0


COMMAND = Command("convert", "--data=DIR --keypoints=pyskl|coco --output=FILE", _run)
COMMAND.string("data", None, "Prepared dataset, with keypoints.", argument="data_dir")
COMMAND.string("keypoints", None, "Format to write: pyskl or coco.")
COMMAND.string("output", None, "New file, such as skeletons.pkl or keypoints.json.")
COMMAND.list("split", [], "Splits to write; without it, all.", argument="splits")
COMMAND.require("data", "keypoints", "output")
