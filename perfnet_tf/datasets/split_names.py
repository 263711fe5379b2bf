"""What folders and lists call the splits."""

from __future__ import annotations

from collections.abc import Iterable

#: Name in lower case -> split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def name_splits(names: Iterable[str]) -> dict[str, str]:
    """Name as it is written -> split, for those of `names` that name one, in any case.

    `eval` is the test, or the validation where another name is the test.
    """
    splits = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    if any(split == "test" and name.lower() != "eval" for name, split in splits.items()):
        splits |= {name: "val" for name in splits if name.lower() == "eval"}
    return splits
