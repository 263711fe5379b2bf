"""What a file of another runtime is made from."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.recognizers.frozen_graph import FrozenGraph


@dataclasses.dataclass(frozen=True)
class Conversion:
    """A frozen network on its way into a file.

    Attributes:
        network: frozen in float32.
        path: file to write.
        shapes: `[batch, frames, height, width, channels]` of the clips that a file of fixed sizes
            takes.
        options: what the caller asks of the format, such as paths; plain values, for JSON.
    """

    network: FrozenGraph
    path: pathlib.Path
    shapes: tuple[tuple[int, ...], ...]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The first of the shapes, for files of one."""
        return self.shapes[0]

    @property
    def graph(self) -> tf.compat.v1.GraphDef:
        """The network with its weights as constants; a copy of them."""
        return self.network.with_constants()


def _nothing() -> None:
    """Of formats that need no other packages."""


@dataclasses.dataclass(frozen=True)
class Format:
    """A file that another runtime reads.

    Attributes:
        file: its name in the folder of an export.
        write: writes it; in a process that ends after the format's last file.
        open: gives a function from float32 frames to the file's float32 logits `[batch, classes]`.
        require: raises `InputError` where a package that both need is not installed.
    """

    file: str
    write: Callable[[Conversion], None]
    open: Callable[[pathlib.Path], Callable[[np.ndarray], np.ndarray]]
    require: Callable[[], None] = _nothing


def clip_file(shape: Sequence[int]) -> str:
    """Name of the file with a clip of this shape, and with its logits."""
    return f"clip_{'x'.join(map(str, shape))}.npz"
