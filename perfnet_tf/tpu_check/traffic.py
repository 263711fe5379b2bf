"""What a compiled TPU program moves and keeps, by the operation of the network that asked for it.

The compiler gives the whole program's bytes as one number. Its text names every operation, the
shapes that it reads and writes, and how they lie in memory: tiles of 8 x 128 values, which make
three channels as large as 128 where channels are the innermost axis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: Opcodes that name or group values and move none.
_FREE = {
    "after-all",
    "bitcast",
    "constant",
    "get-tuple-element",
    "parameter",
    "partition-id",
    "tuple",
}
_SHAPE = re.compile(r"([a-z][a-z0-9]*)\[([0-9,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (.*)$")
_OPCODE = re.compile(r"\s([a-z][a-z0-9-]*)\(")
_NAME = re.compile(r'op_name="([^"]*)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


@dataclass(frozen=True)
class Operation:
    """An operation of a compiled program.

    Attributes:
        name: of the TensorFlow operation that it was made of, such as
            `res_net3d50/res2/cell1/spatial/conv/Conv2D`; the compiler's own if it made it itself.
        kind: opcode, such as `fusion`, `copy` or `convolution`.
        bytes_moved: that it reads and writes, tiles' padding included.
        bytes_written: of that, its results.
        bytes_needed: that it would read and write without padding.
        cycles: of the core, by the compiler's own estimate; 0 where it gives none.
    """

    name: str
    kind: str
    bytes_moved: int
    bytes_written: int
    bytes_needed: int
    cycles: int


@dataclass(frozen=True)
class _Size:
    """Bytes of a value, with and without its tiles' padding."""

    tiled: int = 0
    needed: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.tiled + other.tiled, self.needed + other.needed)


def read_operations(program: str) -> Iterator[Operation]:
    """The operations of a compiled program that read or write memory.

    Args:
        program: text of the HLO module after compilation.

    Yields:
        Those of its entry in its order; what is inside of a fusion stays on the chip.
    """
    sizes: dict[str, _Size] = {}
    for line in _entry_lines(program):
        found = _INSTRUCTION.match(line)
        if found is None:
            continue
        name, rest = found.groups()
        opcode = _OPCODE.search(" " + _without_shapes(rest))
        if opcode is None:
            continue
        kind = opcode[1]
        result, _, behind = rest.partition(f" {kind}(")
        written = _size_of(result)
        read = sum((sizes.get(operand, _Size()) for operand in _operands(behind)), start=_Size())
        sizes[name] = written
        if kind in _FREE or kind.endswith("-done"):
            continue
        if kind.endswith("-start"):
            written = read  # its result also names what it reads
        asked, cycles = _NAME.search(rest), _CYCLES.search(rest)
        yield Operation(
            asked[1] if asked else f"the compiler's {kind}",
            kind,
            read.tiled + written.tiled,
            written.tiled,
            read.needed + written.needed,
            int(cycles[1]) if cycles else 0,
        )


def total_by_layer(
    operations: Iterable[Operation], *, depth: int = 3
) -> list[tuple[str, Operation]]:
    """Sums over the operations of each layer and direction, the largest traffic first.

    Args:
        operations: of `read_operations`.
        depth: parts of a name that make a layer: with 3, `NETWORK/STAGE/CELL`.

    Returns:
        Layer -> an operation with the sums; `, gradient` behind a layer's name where TensorFlow's
        name says so.
    """
    sums: dict[str, list[Operation]] = {}
    for operation in operations:
        sums.setdefault(layer_of(operation.name, depth), []).append(operation)
    totals = [(layer, _sum(layer, parts)) for layer, parts in sums.items()]
    return sorted(totals, key=lambda pair: -pair[1].bytes_moved)


def layer_of(name: str, depth: int) -> str:
    """`gradient_tape/NET/A/B/conv/Conv2D` -> `NET/A/B, gradient`."""
    parts = [part for part in name.split("/") if part]
    gradient = any(part.startswith("gradient") for part in parts)
    kept = [part for part in parts if not part.startswith("gradient")]
    return "/".join(kept[:depth]) + (", gradient" if gradient else "")


def as_json(operations: Sequence[Operation], top: int) -> dict[str, Any]:
    """Plain values of the `top` layers by traffic and results by size."""
    written = sorted(operations, key=lambda operation: -operation.bytes_written)
    return {
        "bytes_moved": sum(operation.bytes_moved for operation in operations),
        "bytes_needed": sum(operation.bytes_needed for operation in operations),
        "cycles": sum(operation.cycles for operation in operations),
        "layers": [
            {
                "layer": layer,
                "bytes_moved": total.bytes_moved,
                "bytes_needed": total.bytes_needed,
                "cycles": total.cycles,
            }
            for layer, total in total_by_layer(operations)[:top]
        ],
        "results": [
            {"name": one.name, "kind": one.kind, "bytes": one.bytes_written}
            for one in written[:top]
        ],
    }


def describe_traffic(found: Mapping[str, Any]) -> list[str]:
    """Lines for a terminal, of what `as_json` gave."""
    total = found["bytes_moved"]
    padding = 1 - found["bytes_needed"] / total if total else 0.0
    lines = [
        f"{total / 1e9:.1f} GB between operations, of which {padding:.0%} is padding of tiles; "
        f"{found['cycles'] / 1e6:.1f} million cycles by the compiler's own estimate"
    ]
    lines += [
        f"{one['bytes_moved'] / 1e9:8.2f} GB  {one['bytes_moved'] / total:4.0%}"
        f"{one['cycles'] / 1e6:9.1f} M  {one['layer']}"
        for one in found["layers"]
    ]
    lines.append("largest results:")
    lines += [
        f"{one['bytes'] / 2**20:8.1f} MiB  {one['kind']}: {one['name']}" for one in found["results"]
    ]
    return lines


def _sum(layer: str, parts: Sequence[Operation]) -> Operation:
    return Operation(
        layer,
        "sum",
        sum(part.bytes_moved for part in parts),
        sum(part.bytes_written for part in parts),
        sum(part.bytes_needed for part in parts),
        sum(part.cycles for part in parts),
    )


def _entry_lines(program: str) -> Iterator[str]:
    inside = False
    for line in program.splitlines():
        if line.startswith("ENTRY "):
            inside = True
        elif inside and line.startswith("}"):
            return
        elif inside:
            yield line


def _without_shapes(text: str) -> str:
    """The text up to its attributes, without layouts, whose tiles look like calls."""
    return re.sub(r"\{[^}]*\}", "", text.partition(", metadata=")[0])


def _operands(behind: str) -> list[str]:
    """Names in the text behind `OPCODE(`, up to the bracket that closes it."""
    depth = 1
    for place, letter in enumerate(behind):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return re.findall(r"%([^\s,()]+)", behind[:place])
    return []


def _size_of(text: str) -> _Size:
    """Of a shape, or of all shapes in a tuple."""
    return sum(
        (_array_size(*found.groups(default="")) for found in _SHAPE.finditer(text)),
        start=_Size(),
    )


def _array_size(dtype: str, dims: str, layout: str) -> _Size:
    bits = _bits(dtype)
    sizes = [int(size) for size in dims.split(",") if size]
    order, _, tiles = layout.partition(":")
    minor_to_major = [int(axis) for axis in order.split(",") if axis]
    padded = [sizes[axis] for axis in minor_to_major] if minor_to_major else sizes[::-1]
    tile = re.match(r"T\(([0-9,]+)\)", tiles)
    if tile is not None:
        # The last number is of the innermost axis.
        for place, unit in enumerate(reversed([int(size) for size in tile[1].split(",")])):
            if place < len(padded):
                padded[place] = -(-padded[place] // unit) * unit
    return _Size(math.prod(padded) * bits // 8, math.prod(sizes) * bits // 8)


def _bits(dtype: str) -> int:
    """Of one value: `pred` is a byte, others have their bits in their names."""
    number = re.search(r"\d+", dtype)
    return int(number[0]) if number else 8
