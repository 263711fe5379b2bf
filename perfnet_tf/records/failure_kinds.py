"""Failures of a preparation by kind: the same sentence about different videos."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from perfnet_tf.records.schema import ClipFailure

#: A number by itself, with sign and decimals, or a size such as 320x240; not the 264 of h264.
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:x\d+)?(?!\w)")


@dataclass(frozen=True)
class FailureKind:
    """Clips that failed for one reason.

    Attributes:
        clip_ids: the clips.
        example: the failure of the first.
    """

    clip_ids: tuple[str, ...]
    example: ClipFailure

    def __str__(self) -> str:
        """How many, and one of them with its cause, in one line."""
        number = len(self.clip_ids)
        which = f"{'such as ' * (number > 1)}{self.example.clip_id}"
        cause = " ".join(self.example.cause.split())
        return f"{number}{' in part' * self.example.kept}, {which}: {cause}"


def group_failures(failures: Iterable[ClipFailure]) -> list[FailureKind]:
    """Groups failures whose causes differ in names of files and in numbers only.

    Returns:
        The kinds, clips without a record before those with a part of one, the largest first.
    """
    groups: dict[tuple[bool, str], list[ClipFailure]] = {}
    for failure in failures:
        groups.setdefault((failure.kept, _kind_of(failure)), []).append(failure)
    kinds = [FailureKind(tuple(one.clip_id for one in some), some[0]) for some in groups.values()]
    return sorted(kinds, key=lambda kind: (kind.example.kept, -len(kind.clip_ids)))


def _kind_of(failure: ClipFailure) -> str:
    """The cause without what is about this clip alone."""
    cause = failure.cause
    file, without_ending = os.path.basename(failure.path), os.path.splitext(failure.path)[0]
    for name in (failure.path, without_ending, file, failure.clip_id):
        if "/" in name or "." in name:  # another name may be a word of the sentence
            cause = cause.replace(name, "...")
    return _NUMBER.sub("N", cause)
