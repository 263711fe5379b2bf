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
from perfnet_tf.label_kinds import NAME_SEPARATOR


@dataclass(frozen=True, eq=False)
class ClipScores:
    """What one network, or several fused, said about a set of clips.

    Attributes:
        clip_ids: one name a clip, unique.
        labels: int32 [clips], indices into `classes`; of several labels per clip 0 and 1
            [clips, classes].
        logits: float32 [clips, classes], before the softmax or sigmoid.
        classes: the classes' names in the order of the logits.
    """

    clip_ids: tuple[str, ...]
    labels: np.ndarray
    logits: np.ndarray
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.clip_ids), len(self.classes))
        if self.logits.shape != shape or self.labels.shape not in (shape[:1], shape):
            raise InputError(
                "Scores need one label, or one per class, and one row of logits per clip, one "
                "column per class. "
                f"Received: {shape[0]} clips, {shape[1]} classes, labels {self.labels.shape}, "
                f"logits {self.logits.shape}."
            )
        if len(set(self.clip_ids)) != len(self.clip_ids):
            twice = next(name for name in self.clip_ids if self.clip_ids.count(name) > 1)
            raise InputError(
                f"Every clip must be scored once. Received: {twice!r} more than once. "
                "Prepare the records again without listing it twice."
            )

    def label_names(self) -> list[str]:
        """Each clip's class, or its classes with "; " between."""
        if self.labels.ndim == 1:
            return [self.classes[label] for label in self.labels]
        return [
            NAME_SEPARATOR.join(self.classes[label] for label in np.flatnonzero(row))
            for row in self.labels
        ]

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
        if self.labels.ndim == 2:
            labels = self.labels[rows][:, columns]
        else:
            new_index = np.argsort(columns)  # old class index -> new class index
            labels = new_index[self.labels[rows]].astype(np.int32)
        return ClipScores(
            tuple(clip_ids),
            labels,
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
        ours, others = first.label_names(), matched.label_names()
        for clip_id, own, other_label in zip(first.clip_ids, ours, others, strict=True):
            if own != other_label:
                raise InputError(
                    "Fused networks must be scored against the same labels. Received: "
                    f"{clip_id!r} as {own!r} and as {other_label!r}. Evaluate all of them on one "
                    "data folder."
                )
        total += matched.logits
    return ClipScores(first.clip_ids, first.labels, total.astype(np.float32), first.classes)
