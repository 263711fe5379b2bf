"""How many classes and clips the official lists of the public datasets hold."""

from __future__ import annotations

from collections.abc import Mapping

#: Dataset -> classes it has.
OFFICIAL_CLASSES = {
    "ucf101": 101,
    "hmdb51": 51,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
}


def _sizes(*counts: tuple[int, int]) -> Mapping[int, Mapping[str, int]]:
    return {
        number: {"train": train, "test": test}
        for number, (train, test) in enumerate(counts, start=1)
    }


#: Dataset -> number of the official split -> split name -> clips.
OFFICIAL_COUNTS: Mapping[str, Mapping[int, Mapping[str, int]]] = {
    "ucf101": _sizes((9537, 3783), (9586, 3734), (9624, 3696)),
    "hmdb51": _sizes(*[(3570, 1530)] * 3),
}


def count_notes(
    dataset: str, num_classes: int, clips: Mapping[str, int], official_split: int | None
) -> tuple[str, ...]:
    """A note if the official dataset's classes are all there, but not all of the clips.

    Args:
        dataset: such as `ucf101`; one without official counts gets no note.
        num_classes: of the lists or the prepared dataset.
        clips: split name -> number of clips.
        official_split: number of the split; None if it is not known.
    """
    counts = OFFICIAL_COUNTS.get(dataset, {})
    candidates = {n: split for n, split in counts.items() if official_split in (None, n)}
    actual = {name: clips.get(name, 0) for name in ("train", "test")}
    if (
        not candidates
        or num_classes != OFFICIAL_CLASSES[dataset]
        or actual in list(candidates.values())
    ):
        return ()
    stated = " or ".join(
        f"{split['train']} + {split['test']} (split {n})" for n, split in candidates.items()
    )
    return (
        f"{actual['train']} training and {actual['test']} test clips, where the official lists of "
        f"{dataset} have {stated}: accuracies are not comparable.",
    )
