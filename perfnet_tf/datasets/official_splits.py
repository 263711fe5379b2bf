"""All official splits of a dataset that is prepared once.

UCF-101 and HMDB-51 have three splits of (nearly) the same clips. With `official_split=all`
`prepare` stores every clip once and writes a subset for each split next to the records:

    DIR            the records; as a dataset it is split 1
    DIR/split1     what `--data` takes for split 1, and so on
    DIR/split2
    DIR/split3

HMDB-51 leaves clips out of each split: those that split 1 does not use are stored as `unused`.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from perfnet_tf.datasets.catalog import Catalog, StrPath, load_catalog
from perfnet_tf.datasets.official_counts import OFFICIAL_CLASSES, count_notes
from perfnet_tf.errors import InputError
from perfnet_tf.records.folder import read_dataset_info, read_failures, record_path
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.records.subset import write_subset

#: Dataset -> its official splits.
OFFICIAL_SPLITS = {"ucf101": (1, 2, 3), "hmdb51": (1, 2, 3)}

#: Split name (`train`, `test`) -> ids of its clips.
Membership = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class SplitCatalog:
    """A dataset with all of its official splits.

    Attributes:
        catalog: every clip of any split, in the first one's splits or `unused`.
        memberships: number of the official split -> its clips.
    """

    catalog: Catalog
    memberships: Mapping[int, Membership]


def load_all_splits(
    dataset: str, *, videos: StrPath, splits: StrPath | None = None
) -> SplitCatalog:
    """Reads the lists of all official splits of a dataset.

    Args:
        dataset: one of `OFFICIAL_SPLITS`.
        videos, splits: as in `load_catalog`.

    Raises:
        InputError: a dataset that has one split only, lists that name different classes, or as in
            `load_catalog`.
    """
    if dataset not in OFFICIAL_SPLITS:
        raise InputError(
            f"Only {' and '.join(OFFICIAL_SPLITS)} have several official splits. "
            f"Received: {dataset}. Give the number of one split."
        )
    catalogs = {
        number: load_catalog(dataset, videos=videos, splits=splits, split=number)
        for number in OFFICIAL_SPLITS[dataset]
    }
    first = catalogs[OFFICIAL_SPLITS[dataset][0]]
    clips = {clip.clip_id: clip for clip in first.clips}
    memberships = {}
    notes = list(first.notes)
    for number, catalog in catalogs.items():
        if catalog.classes != first.classes:
            raise InputError(
                "All official splits have the same classes. Received: lists of split "
                f"{number} with {len(catalog.classes)} classes, of the first with "
                f"{len(first.classes)}, or in another order."
            )
        for clip in catalog.clips:
            clips.setdefault(clip.clip_id, dataclasses.replace(clip, split="unused"))
        memberships[number] = {
            name: tuple(clip.clip_id for clip in catalog.clips if clip.split == name)
            for name in ("train", "test")
        }
        notes += [note for note in catalog.notes if note not in notes]
    catalog = Catalog(
        dataset,
        first.classes,
        tuple(clips.values()),
        notes=tuple(notes),
        left_out=first.left_out,
    )
    return SplitCatalog(catalog, memberships)


def write_official_splits(
    data_dir: str | pathlib.Path, memberships: Mapping[int, Membership]
) -> dict[int, DatasetInfo]:
    """Writes the subset of each official split into the prepared dataset's folder.

    Args:
        data_dir: the prepared dataset of `SplitCatalog.catalog`.
        memberships: of `SplitCatalog`.

    Returns:
        Number of the split -> what its `dataset.json` says.

    Raises:
        InputError: no prepared dataset, or a split none of whose clips could be read.
    """
    info = read_dataset_info(data_dir)
    return {
        number: write_subset(
            data_dir,
            pathlib.Path(data_dir) / f"split{number}",
            membership,
            name=f"{info.name}-split{number}",
            parameters={"official_split": number},
        )
        for number, membership in memberships.items()
    }


def official_split_folders(data_dir: str | os.PathLike[str]) -> dict[int, str]:
    """Number of the official split -> the folder of its subset; empty where there are none.

    Raises:
        InputError: no prepared dataset.
    """
    info = read_dataset_info(os.fspath(data_dir))
    folders = {}
    for number in OFFICIAL_SPLITS.get(info.name, ()):
        folder = record_path(os.fspath(data_dir), f"split{number}")
        try:
            read_dataset_info(folder)
        except InputError:
            continue
        folders[number] = folder
    return folders


def choose_splits(data_dir: str | os.PathLike[str], text: str) -> dict[int, str]:
    """The splits that `text` names: `all`, or numbers separated by commas.

    Raises:
        InputError: the dataset was not prepared with all of its splits, or has no such split.
    """
    folders = official_split_folders(data_dir)
    if not folders:
        raise InputError(
            f"{data_dir} holds one split only. Run `perfnet prepare --official_split=all`, which "
            "stores every clip once for all official splits. (UCF-101 that was prepared as split 1 "
            "gets the others in a moment: the same command and folder, with that flag.)"
        )
    if text == "all":
        return folders
    chosen = {}
    for word in text.split(","):
        if not word.strip().isdecimal() or int(word) not in folders:
            raise InputError(
                f"`splits` is all, or numbers of {', '.join(map(str, folders))}, separated by "
                f"commas. Received: {text}."
            )
        chosen[int(word)] = folders[int(word)]
    return chosen


def data_notes(data_dir: str | pathlib.Path) -> tuple[str, ...]:
    """What a reader of accuracies must know of a prepared dataset, a sentence each.

    Classes and clips that the official dataset has and this has not, and clips that could not be
    read. Empty where all is there, or where nothing is known of the dataset.

    Raises:
        InputError: no prepared dataset.
    """
    info = read_dataset_info(data_dir)
    notes = []
    base = base_name(info)
    classes = OFFICIAL_CLASSES.get(base)
    if classes is not None and classes != info.num_classes:
        notes.append(
            f"{info.num_classes} of the {classes} classes of {base}: accuracies are not comparable "
            "with others' on all of them."
        )
    elif "validation_fold" not in info.parameters:
        clips = {name: split["num_clips"] for name, split in info.splits.items()}
        number = info.parameters.get("official_split")
        notes += count_notes(base, info.num_classes, clips, number)
    failures = read_failures(data_dir)
    lost = [failure for failure in failures if not failure.kept]
    if lost:
        by_split = collections.Counter(failure.split or "of the lists" for failure in lost)
        counts = ", ".join(f"{split} {count}" for split, count in by_split.items())
        notes.append(
            f"{len(lost)} clips are missing or could not be read, and are in no count here "
            f"({counts}); failures.jsonl of the data lists them."
        )
    if info.num_truncated:
        notes.append(f"{info.num_truncated} videos broke off, and are in the records in part.")
    return tuple(notes)


def base_name(info: DatasetInfo) -> str:
    """The dataset's name without the addition of a subset: `ucf101` of `ucf101-split2`."""
    return info.name.split("-", 1)[0]
