"""Names for classes that lists number."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from perfnet_tf.classes import check_class_names, read_class_names
from perfnet_tf.datasets.catalog import Catalog, StrPath, read_lines, read_table
from perfnet_tf.errors import InputError

_NUMBERED = re.compile(r"(\d+)[\s,:]+(.+)")


def read_names(path: StrPath) -> tuple[str, ...]:
    """The class names in a file, in label order.

    A name on each line (mmaction2's `label_map.txt`); a number and a name on each line, from 0 or 1
    (`classInd.txt`), or in the columns `id` and `name` of a table (`kinetics_400_labels.csv`); or
    JSON: a list of names, or an object from names to numbers (PyTorchVideo's
    `kinetics_classnames.json`, Something-Something's `labels.json`) or from numbers to names.

    Raises:
        InputError: no such file, another content, or a name twice.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() == ".json":
        # PyTorchVideo's names have quotation marks of their own.
        return tuple(name.strip('"') for name in read_class_names(path))
    by_number, num_lines = _numbered(path)
    if len(by_number) == num_lines > 0:
        first = min(by_number)
        if first in (0, 1) and sorted(by_number) == [*range(first, first + len(by_number))]:
            names = tuple(by_number[number] for number in sorted(by_number))
            check_class_names(names)
            return names
    return read_class_names(path)


def _numbered(path: pathlib.Path) -> tuple[dict[int, str], int]:
    """Number -> name, of the lines that have both; and the number of lines."""
    lines = [line for _, line in read_lines(path)]
    if lines and {"id", "name"} == set(lines[0].lower().split(",")):
        rows = [row for _, row in read_table(path)[1]]
        pairs = {int(row["id"]): row["name"] for row in rows if row["id"].isdecimal()}
        return pairs, len(rows)
    matches = [_NUMBERED.fullmatch(line) for line in lines]
    return {int(match[1]): match[2] for match in matches if match}, len(lines)


def name_classes(catalog: Catalog, path: StrPath) -> Catalog:
    """`catalog` with the classes of a file of names, in their order.

    Classes that are numbers, as lists number them from 0, get the names of the file; classes with
    names must be in it.

    Raises:
        InputError: a class has no name there, or as in `read_names`.
    """
    names = read_names(path)
    numbered = all(name.isdecimal() for name in catalog.classes)
    labels = {name: label for label, name in enumerate(names)}
    clips = []
    for clip in catalog.clips:
        found = []
        for name in clip.labels.values():
            label = int(name) if numbered else labels.get(name, len(names))
            if label >= len(names):
                hint = " Numbers begin at 0." if numbered and label == len(names) else ""
                raise InputError(
                    "Every class must be in the file of their names. Received: "
                    f"{name!r} (of {clip.clip_id}), where {path} has {len(names)}.{hint}"
                )
            found.append(label)
        label, *others = sorted(found)
        clips.append(
            dataclasses.replace(
                clip,
                label=label,
                label_name=names[label],
                other_labels=tuple(others),
                other_label_names=tuple(names[other] for other in others),
            )
        )
    return dataclasses.replace(catalog, classes=names, clips=tuple(clips))
