"""`perfnet convert`: what records hold as files of other programs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.errors import InputError

T = TypeVar("T")


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Writes the keypoints or the optical flow of prepared records for other programs.

    --keypoints=pyskl makes a skeleton pickle for PYSKL and MMAction2 with the splits of the
    records, and --keypoints=coco an annotation JSON. Coordinates are pixels of the stored frames.
    perfnet prepare reads both again (--pose=pyskl, --pose=coco): PYSKL's to the bit, COCO's to a
    thousandth of a pixel.

    --flow=flo makes a folder with CLIP/flow_00001.flo (Middlebury), --flow=jpeg one with
    CLIP/flow_x_00001.jpg and flow_y_00001.jpg as denseflow and mmaction2 have them. perfnet prepare
    reads both again (--flow=folder): .flo files to the bit.
    """
    if (arguments.keypoints is None) == (arguments.flow is None):
        raise InputError(
            "convert writes keypoints or flow. Received: "
            f"{'neither' if arguments.flow is None else 'both'}. Give --keypoints or --flow."
        )
    splits = arguments.split or None
    if arguments.flow is not None:
        from perfnet_tf.records.flow_export import export_flow
        from perfnet_tf.records.folder import read_dataset_info

        number = export_flow(
            arguments.data, arguments.output, arguments.flow, splits=splits, progress=_progress
        )
        bound = read_dataset_info(arguments.data).flow_bound
        print(f"{arguments.output}: flow of {number} clips, within {bound:g} pixels per frame")
        return 0
    from perfnet_tf.records.keypoint_export import export_keypoints

    number = export_keypoints(
        arguments.data, arguments.output, arguments.keypoints, splits=splits, progress=_progress
    )
    print(f"{arguments.output}: keypoints of {number} clips")
    return 0


def _progress(clips: Sequence[T]) -> Iterator[T]:
    from tqdm import tqdm

    return iter(tqdm(clips, desc="convert", unit="clip", disable=not sys.stderr.isatty()))


COMMAND = Command("convert", "--data=DIR --keypoints=pyskl|coco --output=FILE", _run)
COMMAND.string("data", None, "Prepared dataset, with keypoints or flow.", argument="data_dir")
COMMAND.string("keypoints", None, "Format of the keypoints to write: pyskl or coco.")
COMMAND.string("flow", None, "Format of the flow to write: flo or jpeg.")
COMMAND.string(
    "output",
    None,
    "New file for keypoints, such as skeletons.pkl or keypoints.json; new or empty folder for "
    "flow.",
)
COMMAND.list("split", [], "Splits to write; without it, all.", argument="splits")
COMMAND.require("data", "output")
