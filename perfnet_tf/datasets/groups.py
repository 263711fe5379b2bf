"""Which prepared clips were cut from one video, and parts of a split that keep them together."""

from __future__ import annotations

import collections
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

from perfnet_tf.datasets.folder import group_name
from perfnet_tf.datasets.hmdb51 import film_name
from perfnet_tf.errors import InputError
from perfnet_tf.files import check_local
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.schema import IndexEntry
from perfnet_tf.records.subset import write_subset

#: Parts that `write_validation_subset` makes of the training clips: UCF-101 tests on 7 of a class's
#: 25 groups, so a quarter of the 18 that are left is a test of about the same kind.
VALIDATION_FOLDS = 4


def group_of(entry: IndexEntry, dataset: str) -> str:
    """The group of a prepared clip: what was recorded with it, or its own id if nothing is known.

    Args:
        entry: its line of the index. Datasets prepared by older versions do not state the group
            there; it then follows from the id by the dataset's own naming.
        dataset: name of the dataset, such as `ucf101`.
    """
    if entry.group is not None:
        return entry.group
    class_name, _, stem = entry.clip_id.rpartition("/")
    group: str | None = None
    if dataset.startswith(("ucf101", "synthetic")):
        match = re.search(r"_(g\d+)_c\d+$", stem)
        group = f"{class_name}/{match[1]}" if match else None
    elif dataset.startswith("hmdb51"):
        group = film_name(stem, class_name)
    elif dataset.startswith("kinetics"):
        group = re.sub(r"_\d{6}_\d{6}$", "", stem)
    elif dataset.startswith("folder"):
        group = group_name(pathlib.PurePath(f"{entry.clip_id}.mp4"))
    return group or entry.clip_id


def draw_folds(
    entries: Sequence[IndexEntry], dataset: str, num_folds: int = VALIDATION_FOLDS
) -> tuple[tuple[str, ...], ...]:
    """Divides clips into parts of about equal size in each class; no group is in two of them.

    The division depends on the ids only: the same clips always give the same parts. A class all
    of whose clips are one group by their names alone is divided clip by clip, as
    `datasets.folder` does; one of a single clip or a single stated group is in no part.

    Args:
        entries: the clips.
        dataset: name of the dataset, for `group_of`.
        num_folds: how many parts, at least 2.

    Returns:
        The ids of each part.

    Raises:
        InputError: so few groups that a part is empty.
    """
    if num_folds < 2:
        raise InputError(f"num_folds must be 2 or greater. Received: {num_folds}.")
    fold_of: dict[str, int] = {}  # group -> part
    by_label: dict[int, dict[str, list[str]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    for entry in entries:
        by_label[entry.label][group_of(entry, dataset)].append(entry.clip_id)
    stated = {entry.clip_id for entry in entries if entry.group is not None}
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    for label in sorted(by_label):
        groups = by_label[label]
        if len(groups) == 1:
            (clips,) = groups.values()
            if len(clips) == 1 or stated.issuperset(clips):
                continue  # else nothing of the class would be left to train on
            groups = {clip_id: [clip_id] for clip_id in clips}
        sizes = [0] * num_folds
        for group in sorted(groups, key=lambda name: (-len(groups[name]), _digest(name))):
            # A group of two classes stays where its first class put it.
            smallest = min(range(num_folds), key=lambda k: (sizes[k], len(folds[k]), k))
            fold = fold_of.setdefault(group, smallest)
            sizes[fold] += len(groups[group])
            folds[fold] += groups[group]
    empty = [number for number, fold in enumerate(folds) if not fold]
    if empty:
        raise InputError(
            f"Clips of {len(fold_of)} groups cannot be divided into {num_folds} parts that share "
            "no group. Prepare more videos."
        )
    return tuple(tuple(fold) for fold in folds)


def write_validation_subset(
    data_dir: str | pathlib.Path, folder: str | pathlib.Path | None = None, fold: int = 0
) -> Mapping[str, int]:
    """Writes a subset of the training clips: `train`, and a part `val` held out for choosing.

    The test clips are in neither.

    Args:
        data_dir: a prepared dataset with a split `train`.
        folder: of the subset; None is `validation_folder(data_dir, fold)`.
        fold: which of the `VALIDATION_FOLDS` parts is held out.

    Returns:
        Split name -> number of clips.

    Raises:
        InputError: no such dataset or part, too few groups, or a folder that is not local.
    """
    if not 0 <= fold < VALIDATION_FOLDS:
        raise InputError(
            f"The validation fold must be in [0, {VALIDATION_FOLDS}). Received: {fold}."
        )
    if folder is None:
        folder = validation_folder(data_dir, fold)
        exists = os.path.exists(data_dir)  # a missing one has its own message below
        if "://" in os.fspath(data_dir) or (exists and not os.access(data_dir, os.W_OK)):
            raise InputError(
                f"The validation subset is written to {folder.name} in the dataset's folder, which "
                f"must be local and writable. Received: {data_dir}. Give write_validation_subset "
                "another `folder`, and train on that one."
            )
    check_local(folder)
    info = read_dataset_info(data_dir)
    entries = tuple(read_index(data_dir, "train"))
    folds = draw_folds(entries, info.name)
    held_out = set(folds[fold])
    train = [entry.clip_id for entry in entries if entry.clip_id not in held_out]
    subset = write_subset(
        data_dir,
        folder,
        {"train": train, "val": folds[fold]},
        name=f"{info.name}-validation{fold}",
        parameters={"validation_fold": fold, "validation_folds": VALIDATION_FOLDS},
    )
    return {split: values["num_clips"] for split, values in subset.splits.items()}


def validation_folder(data_dir: str | pathlib.Path, fold: int) -> pathlib.Path:
    """The folder inside a prepared dataset for its subset of a validation fold."""
    return pathlib.Path(data_dir) / f"validation{fold}"


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
