"""What a file of another runtime is made from."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError
from perfnet_tf.installed import missing_modules
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


@dataclasses.dataclass(frozen=True)
class Format:
    """A file that another runtime reads.

    Attributes:
        file: its name in the folder of an export.
        write: writes it; in a process that ends after the format's last file.
        open: gives a function from float32 frames to the file's float32 logits `[batch, classes]`.
        modules: of other packages that both need.
        extra: of this package that brings them.
    """

    file: str
    write: Callable[[Conversion], None]
    open: Callable[[pathlib.Path], Callable[[np.ndarray], np.ndarray]]
    modules: tuple[str, ...] = ()
    extra: str = ""

    def require(self) -> None:
        """Raises `InputError` where one of the modules is not installed."""
        missing = missing_modules(*self.modules)
        if missing:
            raise InputError(
                f"{self.file} needs {', '.join(missing)}, not installed here. Run pip install "
                f"'perfnet-tf[{self.extra}]'."
            )


def clip_file(shape: Sequence[int]) -> str:
    """Name of the file with a clip of this shape, and with its logits."""
    return f"clip_{'x'.join(map(str, shape))}.npz"
