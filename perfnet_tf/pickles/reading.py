"""Plain data and NumPy arrays in a pickle, read without unpickling it.

Unpickling calls what the file names. Here the file's operations are interpreted: those that make
dictionaries, lists, tuples, text, numbers and arrays are carried out; anything else ends the
reading, and nothing that the file names is imported or called. Arrays stay where they are in the
file until they are asked for, so that processes share the memory of a large one.

Protocols 2 to 5. Sources: `pickletools.opcodes` of CPython 3.12; `ndarray.__reduce__` and
`numpy._core.numeric._frombuffer` of NumPy 1.26 and 2.2.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError, first_line


class PickledArray:
    """An array in a pickle.

    Attributes:
        shape: tuple of int.
        dtype: of floats, integers or booleans.
    """

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype("u1")
        self._order = "C"
        self._content: Any = b""

    def build(self, state: Any) -> None:
        """Takes what the file says of the array: (version, shape, dtype, by column, content)."""
        _, shape, dtype, by_column, content = state
        self._set(shape, dtype, "F" if by_column else "C", content)

    @classmethod
    def from_buffer(cls, content: Any, dtype: Any, shape: Any, order: str, *_: Any) -> PickledArray:
        """The array of a pickle of protocol 5."""
        result = cls()
        result._set(shape, dtype, order, content)
        return result

    def _set(self, shape: Any, dtype: Any, order: str, content: Any) -> None:
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"it holds an array of shape {shape!r}")
        self.shape, self.dtype = tuple(shape), dtype.numpy()
        self._order, self._content = order, content

    def numpy(self) -> np.ndarray:
        """The array, read-only where it is part of the file.

        Raises:
            ValueError: the content has another size.
        """
        values = np.frombuffer(_as_bytes(self._content), self.dtype)
        return values.reshape(self.shape, order="F" if self._order == "F" else "C")


class _DType:
    """A number's type whose byte order follows."""

    def __init__(self, name: Any) -> None:
        if not isinstance(name, str) or not re.fullmatch("b1|[fiu][1248]", name):
            raise ValueError(f"it holds values of type {name!r}")
        self.name, self.order = name, "<"

    def build(self, state: Any) -> None:
        if state[1] not in ("<", ">", "|"):
            raise ValueError(f"it holds values in byte order {state[1]!r}")
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.order + self.name)


class _Latin1:
    """Bytes as protocol 2 stores them: as text, one character per byte; not yet decoded."""

    def __init__(self, content: memoryview) -> None:
        self._content = content

    def encode(self) -> bytes:
        return str(self._content, "utf-8").encode("latin-1")


def _as_bytes(content: Any) -> Any:
    return content.encode() if isinstance(content, _Latin1) else content


def _encode(text: Any, codec: Any) -> Any:
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"it encodes text as {codec!r}")
    return text if isinstance(text, _Latin1) else text.encode("latin-1")


def _scalar(dtype: _DType, content: Any) -> Any:
    (value,) = np.frombuffer(_as_bytes(content), dtype.numpy()).tolist()
    return value


#: What the pickles of arrays, numbers and bytes call, by module and name -> what is done instead.
_CALLS: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "dtype"): lambda name, *flags: _DType(name),
    # Only an argument of `_reconstruct`.
    ("numpy", "ndarray"): None,
    ("_codecs", "encode"): _encode,
    # Empty bytes in protocol 2.
    ("__builtin__", "bytes"): lambda: b"",
}
for _core in ("numpy.core", "numpy._core"):
    _CALLS[f"{_core}.multiarray", "_reconstruct"] = lambda *arguments: PickledArray()
    _CALLS[f"{_core}.multiarray", "scalar"] = _scalar
    _CALLS[f"{_core}.numeric", "_frombuffer"] = PickledArray.from_buffer


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Reads a file; see `parse_pickle`.

    Raises:
        InputError: there is no such file, or as `parse_pickle`.
    """
    try:
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise InputError(f"The pickle {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise InputError(f"The pickle {path} is empty.") from error
    return parse_pickle(memoryview(content), os.fspath(path))


def parse_pickle(content: bytes | memoryview, path: str) -> Any:
    """What a pickle holds.

    Args:
        content: of the file.
        path: for messages.

    Returns:
        dict, list, tuple, str, int, float, bool, None and bytes as they are; a `PickledArray` in
        place of each array.

    Raises:
        InputError: it is cut, damaged, or holds anything else.
    """
    try:
        return _Interpreter(memoryview(content)).run()
    # What a damaged file makes of the operations.
    except (
        *(ValueError, TypeError, LookupError, AttributeError),
        *(ArithmeticError, RecursionError, struct.error),
    ) as error:
        raise InputError(
            "A pickle may hold dictionaries, lists, text, numbers and NumPy arrays and nothing "
            f"else. Received: {path} ({first_line(error)})."
        ) from error


class _Interpreter:
    """Carries out a pickle's operations."""

    def __init__(self, content: memoryview) -> None:
        self._content = content
        self._position = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle makes."""
        operations = {code: getattr(self, name) for code, name in _OPERATIONS.items()}
        while True:
            code = self._take(1)[0]
            if code == ord("."):
                (result,) = self._stack
                return result
            if code not in operations:
                raise ValueError(f"it has an operation {bytes([code])!r}")
            operations[code]()

    def _take(self, size: int) -> memoryview:
        end = self._position + size
        if end > len(self._content):
            raise ValueError("it is cut off")
        part = self._content[self._position : end]
        self._position = end
        return part

    def _number(self, layout: str) -> Any:
        (value,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return value

    def _line(self) -> str:
        start = self._position
        while self._take(1)[0] != ord("\n"):
            if self._position - start > 256:
                raise ValueError("it names something too long")
        return str(self._content[start : self._position - 1], "utf-8")

    def _pop_marked(self) -> list[Any]:
        begin = self._marks.pop()
        values = self._stack[begin:]
        del self._stack[begin:]
        return values

    def skip_protocol(self) -> None:
        if not 2 <= (protocol := self._number("<B")) <= 5:
            raise ValueError(f"it has protocol {protocol}")

    def skip_frame(self) -> None:
        self._take(8)

    def mark(self) -> None:
        self._marks.append(len(self._stack))

    def push_none(self) -> None:
        self._stack.append(None)

    def push_true(self) -> None:
        self._stack.append(True)

    def push_false(self) -> None:
        self._stack.append(False)

    def push_int32(self) -> None:
        self._stack.append(self._number("<i"))

    def push_uint8(self) -> None:
        self._stack.append(self._number("<B"))

    def push_uint16(self) -> None:
        self._stack.append(self._number("<H"))

    def push_long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def push_float(self) -> None:
        self._stack.append(self._number(">d"))

    def push_text8(self) -> None:
        self._push_text(self._number("<B"))

    def push_text32(self) -> None:
        self._push_text(self._number("<I"))

    def push_text64(self) -> None:
        self._push_text(self._number("<Q"))

    def _push_text(self, size: int) -> None:
        content = self._take(size)
        # An array's content is text in protocol 2.
        is_content = bool(self._stack) and self._stack[-1] == ("_codecs", "encode")
        self._stack.append(_Latin1(content) if is_content else str(content, "utf-8"))

    def push_bytes8(self) -> None:
        self._stack.append(self._take(self._number("<B")))

    def push_bytes32(self) -> None:
        self._stack.append(self._take(self._number("<I")))

    def push_bytes64(self) -> None:
        self._stack.append(self._take(self._number("<Q")))

    def push_list(self) -> None:
        self._stack.append([])

    def push_dict(self) -> None:
        self._stack.append({})

    def push_empty_tuple(self) -> None:
        self._stack.append(())

    def make_tuple1(self) -> None:
        self._stack.append((self._stack.pop(),))

    def make_tuple2(self) -> None:
        last = self._stack.pop()
        self._stack.append((self._stack.pop(), last))

    def make_tuple3(self) -> None:
        last, middle = self._stack.pop(), self._stack.pop()
        self._stack.append((self._stack.pop(), middle, last))

    def make_tuple(self) -> None:
        self._stack.append(tuple(self._pop_marked()))

    def append(self) -> None:
        value = self._stack.pop()
        self._stack[-1].extend([value])

    def extend(self) -> None:
        values = self._pop_marked()
        self._stack[-1].extend(values)

    def set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._stack[-1].update({key: value})

    def set_items(self) -> None:
        pairs = self._pop_marked()
        self._stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))

    def memoize(self) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def put8(self) -> None:
        self._memo[self._number("<B")] = self._stack[-1]

    def put32(self) -> None:
        self._memo[self._number("<I")] = self._stack[-1]

    def get8(self) -> None:
        self._stack.append(self._memo[self._number("<B")])

    def get32(self) -> None:
        self._stack.append(self._memo[self._number("<I")])

    def push_global(self) -> None:
        module = self._line()
        self._push_call(module, self._line())

    def push_stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_call(module, name)

    def _push_call(self, module: str, name: str) -> None:
        if (module, name) not in _CALLS:
            raise ValueError(f"it names {module}.{name}")
        self._stack.append((module, name))

    def call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        make = _CALLS[function]
        if make is None:
            raise ValueError(f"it calls {'.'.join(function)}")
        self._stack.append(make(*arguments))

    def build(self) -> None:
        state = self._stack.pop()
        self._stack[-1].build(state)


#: Byte of each operation -> the method that carries it out.
_OPERATIONS: Mapping[int, str] = {
    code[0]: name
    for code, name in {
        b"\x80": "skip_protocol",
        b"\x95": "skip_frame",
        b"(": "mark",
        b"N": "push_none",
        b"\x88": "push_true",
        b"\x89": "push_false",
        b"J": "push_int32",
        b"K": "push_uint8",
        b"M": "push_uint16",
        b"\x8a": "push_long",
        b"G": "push_float",
        b"\x8c": "push_text8",
        b"X": "push_text32",
        b"\x8d": "push_text64",
        b"C": "push_bytes8",
        b"B": "push_bytes32",
        b"\x8e": "push_bytes64",
        b"\x96": "push_bytes64",
        b"]": "push_list",
        b"}": "push_dict",
        b")": "push_empty_tuple",
        b"\x85": "make_tuple1",
        b"\x86": "make_tuple2",
        b"\x87": "make_tuple3",
        b"t": "make_tuple",
        b"a": "append",
        b"e": "extend",
        b"s": "set_item",
        b"u": "set_items",
        b"\x94": "memoize",
        b"q": "put8",
        b"r": "put32",
        b"h": "get8",
        b"j": "get32",
        b"c": "push_global",
        b"\x93": "push_stack_global",
        b"R": "call",
        b"b": "build",
    }.items()
}
