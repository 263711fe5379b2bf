"""Writes plain data and NumPy arrays as a pickle that any Python with NumPy loads.

Protocol 4, and arrays under the name `numpy.core.multiarray`, which NumPy 1 and 2 both know.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np


def write_pickle(file: IO[bytes], value: Any) -> None:
    """Writes a pickle.

    Args:
        file: open for writing.
        value: dict, list, tuple, str, int, float, bool, None, arrays of numbers; an iterator is
            written as a list, and only one of its items is in memory.

    Raises:
        TypeError: another type.
    """
    file.write(b"\x80\x04")
    _write(file, value)
    file.write(b".")


def _write(file: IO[bytes], value: Any) -> None:
    if value is None or isinstance(value, bool):
        file.write({None: b"N", True: b"\x88", False: b"\x89"}[value])
    elif isinstance(value, int):
        file.write(_int(value))
    elif isinstance(value, float):
        file.write(b"G" + struct.pack(">d", value))
    elif isinstance(value, str):
        content = value.encode()
        file.write(b"X" + struct.pack("<I", len(content)) + content)
    elif isinstance(value, np.ndarray):
        _write_array(file, value)
    elif isinstance(value, Mapping):
        file.write(b"}")
        for key, item in value.items():
            _write(file, key)
            _write(file, item)
            file.write(b"s")
    elif isinstance(value, (list, Iterator)):
        file.write(b"]")
        for item in value:
            _write(file, item)
            file.write(b"a")
    elif isinstance(value, tuple):
        file.write(b"(")
        for item in value:
            _write(file, item)
        file.write(b"t")
    else:
        raise TypeError(f"A pickle holds plain data and arrays. Received: {type(value).__name__}.")


def _int(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    content = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + struct.pack("<B", len(content)) + content


def _global(module: str, name: str) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode()


def _write_array(file: IO[bytes], array: np.ndarray) -> None:
    """`_reconstruct(ndarray, (0,), b"b")`, then the state, as `ndarray.__reduce__` gives both."""
    if array.dtype.kind not in "biuf":
        raise TypeError(f"A pickle holds arrays of numbers. Received: {array.dtype}.")
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    file.write(_global("numpy.core.multiarray", "_reconstruct") + _global("numpy", "ndarray"))
    file.write(b"K\x00\x85C\x01b\x87R(K\x01")
    _write(file, tuple(map(int, array.shape)))
    file.write(_global("numpy", "dtype"))
    _write(file, (f"{array.dtype.kind}{array.dtype.itemsize}", False, True))
    order = "|" if array.dtype.itemsize == 1 else "<"
    file.write(b"R")
    _write(file, (3, order, None, None, None, -1, -1, 0))
    file.write(b"b\x89\x8e" + struct.pack("<Q", little.nbytes))
    file.write(little.tobytes())
    file.write(b"tb")
