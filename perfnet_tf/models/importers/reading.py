"""What an importer says of a file before anything is copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.tensors import Tensors
from perfnet_tf.models.importers.transfer import Slot


@dataclass(frozen=True, eq=False)
class Reading:
    """A file of weights, understood.

    Attributes:
        tensors: of the file, under the names that `slots` use.
        backbone: architecture without gating, `r3d50`, `s3d` or `i3d`.
        options: what the source's networks have and no tensor determines -> assumed value.
        inferred: options that the tensors' shapes and names determine.
        stream: the stream by the first convolution's channels, `flow` or `rgb` (or `pose`); None
            where the weights are for images.
        num_classes: of the file's classifier; None without one.
        slots: from the network to its slots in the file, in order.
        complete: fills the network's other variables; returns their names -> what they hold.
        ignorable: from a tensor's name to why nobody needs it, or None.
        outside: what the file calls tensors that are not of the network -> why.
        clip: what networks of this source are usually trained on, FRAMESxHEIGHTxWIDTH.
        classes_without_head: classes of a fresh classifier if there is no other word.
        notes: for the report.
        classes: names of the file's classes, where the source knows them.
    """

    tensors: Tensors
    backbone: str
    options: dict[str, Any]
    inferred: dict[str, Any]
    stream: str | None
    num_classes: int | None
    slots: Callable[[Any], list[Slot]]
    ignorable: Callable[[str], str | None]
    complete: Callable[[Any], dict[str, str]] = lambda model: {}
    clip: str = "64x224x224"
    classes_without_head: int = 400
    notes: list[str] = field(default_factory=list)
    outside: dict[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None


def refuse_arguments(source: str, *, scope: str | None = None, average: bool = False) -> None:
    """Refuses arguments that mean nothing to a source.

    Raises:
        InputError: one of them is given.
    """
    for name, value in (("scope", scope), ("average", average)):
        if value:
            raise InputError(f"`{name}` means nothing to {source}. Leave it out.")


def stream_of(channels: int) -> str:
    """The stream that a first convolution of so many channels sees; pose looks like RGB."""
    return "flow" if channels == 2 else "rgb"


def infer_width(channels: Iterable[tuple[int, int]]) -> float:
    """The width multiplier of a network, from its layers' (full, actual) channels.

    The shortest number that gives them all; 1 if none does.
    """
    low, high = 0.0, math.inf
    for full, actual in channels:
        if actual > 16:  # fewer are raised to 16: `VideoModel.scaled`
            low, high = max(low, actual / full), min(high, (actual + 1) / full)
    if not 0 < low < high:
        return 1.0
    for digits in range(7):
        candidate = math.ceil(low * 10**digits - 1e-9) / 10**digits
        if low <= candidate < high:
            return float(candidate)
    return low
