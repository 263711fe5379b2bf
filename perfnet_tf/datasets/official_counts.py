"""What the official lists say of a dataset, held against what is there."""

from __future__ import annotations

import collections
import pathlib
from collections.abc import Mapping

from perfnet_tf.datasets import hmdb51, ucf101
from perfnet_tf.records.schema import DatasetInfo, read_dataset_info, read_failures

#: Dataset -> classes it has.
OFFICIAL_CLASSES = {
    "ucf101": 101,
    "hmdb51": 51,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
}
#: Dataset -> official split -> split name -> clips.
OFFICIAL_COUNTS: Mapping[str, Mapping[int, Mapping[str, int]]] = {
    "ucf101": {
        number: {"train": train, "test": test}
        for number, (train, test) in ucf101.OFFICIAL_COUNTS.items()
    },
    "hmdb51": {
        number: {"train": hmdb51.OFFICIAL_COUNTS[0], "test": hmdb51.OFFICIAL_COUNTS[1]}
        for number in (1, 2, 3)
    },
}


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
    elif base in OFFICIAL_COUNTS:
        notes += _compare_counts(info, base)
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


def _compare_counts(info: DatasetInfo, base: str) -> list[str]:
    counts = OFFICIAL_COUNTS[base]
    ours = {
        name: info.splits[name]["num_clips"] for name in ("train", "test") if name in info.splits
    }
    number = info.parameters.get("official_split")
    candidates = {n: split for n, split in counts.items() if number in (None, n)}
    if "validation_fold" in info.parameters or ours in list(candidates.values()):
        return []
    stated = " or ".join(
        f"{split['train']} + {split['test']} (split {n})" for n, split in candidates.items()
    )
    return [
        f"{ours.get('train', 0)} training and {ours.get('test', 0)} test clips, where the official "
        f"lists of {base} have {stated}: accuracies are not comparable."
    ]
