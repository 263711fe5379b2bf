"""A few labelled clips of each class, and the rest of the training clips as unlabelled ones."""

from __future__ import annotations

import collections
import os
import pathlib
from dataclasses import dataclass

import numpy as np

from perfnet_tf.errors import InputError, check_positive
from perfnet_tf.files import check_local
from perfnet_tf.label_kinds import MULTI_LABEL
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.subset import write_subset

UNLABELLED_FOLDER = "unlabelled"


@dataclass(frozen=True)
class FewClips:
    """Subsets that `write_few_clips` made.

    Attributes:
        labelled: prepared dataset with the drawn clips as `train`, and the other splits as they
            were.
        unlabelled: prepared dataset with the other training clips as `train`; None if none is left.
        num_labelled, num_unlabelled: training clips in each.
    """

    labelled: pathlib.Path
    unlabelled: pathlib.Path | None
    num_labelled: int
    num_unlabelled: int


def write_few_clips(
    data_dir: str | pathlib.Path, folder: str | pathlib.Path, count: int | None, draw: int
) -> FewClips:
    """Draws `count` training clips of each class.

    The same draw of more clips holds those of fewer. A class that has no more than `count` clips
    gives all of them.

    Args:
        data_dir: a prepared dataset with a split `train`.
        folder: of the subsets; made if missing.
        count: clips of each class; None takes all.
        draw: number of the draw, 0 or greater.

    Raises:
        InputError: no such dataset, one of several labels per clip, a count below 1, or a folder
            that is not local.
    """
    check_positive(count=count)
    check_local(folder)
    folder = pathlib.Path(folder)
    info = read_dataset_info(data_dir)
    if info.label_kind == MULTI_LABEL:
        raise InputError(
            "Clips of each class are drawn where a clip has one label. Received: "
            f"{os.fspath(data_dir)}, whose clips have several."
        )
    entries = {split: list(read_index(data_dir, split)) for split in info.splits}
    by_label: dict[int, list[str]] = collections.defaultdict(list)
    for entry in entries["train"]:
        by_label[entry.label].append(entry.clip_id)
    drawn: set[str] = set()
    for label, clip_ids in by_label.items():
        order = np.random.default_rng([draw, label]).permutation(sorted(clip_ids))
        drawn.update(order[:count].tolist())
    others = [entry.clip_id for entry in entries["train"] if entry.clip_id not in drawn]
    splits = {split: [entry.clip_id for entry in some] for split, some in entries.items()}
    name = f"{info.name}-few{'all' if count is None else count}-draw{draw}"
    parameters = {"clips_per_class": count, "draw": draw}
    write_subset(
        data_dir, folder, {**splits, "train": sorted(drawn)}, name=name, parameters=parameters
    )
    unlabelled = None
    if others:
        unlabelled = folder / UNLABELLED_FOLDER
        write_subset(
            data_dir, unlabelled, {"train": others}, name=f"{name}-others", parameters=parameters
        )
    return FewClips(folder, unlabelled, len(drawn), len(others))
