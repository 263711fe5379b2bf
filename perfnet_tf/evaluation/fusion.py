"""Class scores of clips, and late fusion: the sum of several networks' logits."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.classes import check_same_classes
from perfnet_tf.errors import InputError


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What one network, or several fused, said about a set of clips.

    Attributes:
        clip_ids: one name a clip, unique.
        labels: int32 [clips], indices into `classes`.
        logits: float32 [clips, classes], before the softmax.
        classes: the classes' names in the order of the logits.
    """

    clip_ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.clip_ids), len(self.classes))
        if self.logits.shape != shape or self.labels.shape != shape[:1]:
            raise InputError(
                "Scores need one label and one row of logits per clip, one column per class. "
                f"Received: {shape[0]} clips, {shape[1]} classes, labels {self.labels.shape}, "
                f"logits {self.logits.shape}."
            )
        if len(set(self.clip_ids)) != len(self.clip_ids):
            twice = next(name for name in self.clip_ids if self.clip_ids.count(name) > 1)
            raise InputError(
                f"Every clip must be scored once. Received: {twice!r} more than once. "
                "Prepare the records again without listing it twice."
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an .npz with the arrays `clip_ids`, `labels`, `logits` and `classes`."""
        np.savez_compressed(
            path,
            clip_ids=np.array(self.clip_ids, np.str_),
            labels=self.labels.astype(np.int32),
            logits=self.logits.astype(np.float32),
            classes=np.array(self.classes, np.str_),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ClipScores:
        """Reads what `save` wrote.

        Raises:
            InputError: no such file, or another kind of file.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(
                    tuple(arrays["clip_ids"].tolist()),
                    arrays["labels"],
                    arrays["logits"],
                    tuple(arrays["classes"].tolist()),
                )
        except (
            OSError,
            EOFError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,  # of an array whose header is lost NumPy gives the bytes
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            raise InputError(
                f"{os.fspath(path)} is not an .npz of scores ({error}). "
                "Name a logits file that `perfnet evaluate` wrote."
            ) from error

    def reordered(self, clip_ids: Sequence[str], classes: Sequence[str]) -> ClipScores:
        """The same scores with clips and classes in another order, matched by name.

        Raises:
            InputError: the clips or the classes are not the same set.
        """
        for what, ours, wanted in (
            ("classes", self.classes, classes),
            ("clips", self.clip_ids, clip_ids),
        ):
            check_same_classes(
                ours,
                wanted,
                rule=f"Fused networks must have scored the same {what}.",
                subject="a network",
                other="the first",
                remedy="Evaluate all of them on one data folder and split.",
                what=what,
            )
        row = {name: index for index, name in enumerate(self.clip_ids)}
        column = {name: index for index, name in enumerate(self.classes)}
        rows = [row[name] for name in clip_ids]
        columns = [column[name] for name in classes]
        new_index = np.argsort(columns)  # old class index -> new class index
        return ClipScores(
            tuple(clip_ids),
            new_index[self.labels[rows]].astype(np.int32),
            self.logits[rows][:, columns],
            tuple(classes),
        )


def fuse(scores: Sequence[ClipScores]) -> ClipScores:
    """Late fusion: the sum of the networks' logits (PERF-Net Sec. 4.2.2).

    Clips are matched by `clip_id` and classes by name, so networks may differ in the order of
    either; the first network's order is kept.

    Raises:
        InputError: nothing to fuse, other clips, other classes, or another label for a clip.
    """
    if not scores:
        raise InputError("Late fusion needs the scores of at least one network. Received: none.")
    first = scores[0]
    total = first.logits.astype(np.float64)
    for other in scores[1:]:
        matched = other.reordered(first.clip_ids, first.classes)
        differing = np.flatnonzero(matched.labels != first.labels)
        if differing.size:
            clip = differing[0]
            raise InputError(
                "Fused networks must be scored against the same labels. Received: "
                f"{first.clip_ids[clip]!r} as {first.classes[first.labels[clip]]!r} and as "
                f"{first.classes[matched.labels[clip]]!r}. Evaluate all of them on one data folder."
            )
        total += matched.logits
    return ClipScores(first.clip_ids, first.labels, total.astype(np.float32), first.classes)
