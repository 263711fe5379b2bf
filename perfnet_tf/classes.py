"""Class names in label order: read, checked, compared, and identified by a digest."""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from perfnet_tf.errors import InputError, is_utf8


def read_class_names(path: str | pathlib.Path) -> tuple[str, ...]:
    """Reads a label map.

    Args:
        path: text with one name a line, in the order of the logits; or `.json`: a list of names,
            `{"name": index}`, `{"name": "index"}` or `{"index": "name"}`.

    Raises:
        InputError: no such file, another format, a name twice, or a gap between the indices.
    """
    file = pathlib.Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        content = json.loads(text) if file.suffix == ".json" else text.splitlines()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"A label map could not be read from {file}: {error}.") from error
    names = _ordered(content, file)
    bad = [name for name in names if not name or name != name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or bad or twice:
        problem = f"{twice[0]!r} twice" if twice else (f"{bad[0]!r}" if bad else "no name")
        raise InputError(
            "A label map has one name for each logit, each once and without blanks at its ends. "
            f"Received: {problem} in {file}."
        )
    return tuple(names)


def _ordered(content: Any, file: pathlib.Path) -> list[str]:
    if isinstance(content, list):
        return [str(name) for name in content]
    try:
        indices_last = all(str(value).isdecimal() for value in content.values())
        pairs = [
            (int(value), str(key)) if indices_last else (int(key), str(value))
            for key, value in content.items()
        ]
    except (AttributeError, ValueError, TypeError) as error:
        raise InputError(
            'A label map in JSON is a list of names, {"name": index} or {"index": "name"}. '
            f"Received: {file}."
        ) from error
    pairs.sort()
    if [index for index, _ in pairs] != list(range(len(pairs))):
        raise InputError(
            f"The indices of a label map are 0, 1, 2, ..., each once. Received: {file}, "
            f"{len(pairs)} indices from {pairs[0][0] if pairs else '-'} on."
        )
    return [name for _, name in pairs]


def classes_digest(classes: Sequence[str]) -> str:
    """SHA-256 of the class names in label order."""
    return hashlib.sha256("\n".join(classes).encode()).hexdigest()


def check_class_names(classes: Iterable[str]) -> None:
    """Raises `InputError` unless every class can stand in a text file, one per line."""
    for name in classes:
        if not name or name != name.strip() or len(name.splitlines()) != 1 or not is_utf8(name):
            raise InputError(
                "A class name is one line without blanks at its ends, in UTF-8. "
                f"Received: {name!r}. Rename the class, which is often a folder's name."
            )


def check_same_classes(
    names: Sequence[str],
    wanted: Sequence[str],
    *,
    rule: str,
    subject: str,
    other: str,
    remedy: str,
    what: str = "classes",
) -> None:
    """Raises `InputError` unless two label maps hold the same names, in any order.

    Args:
        names, wanted: the names that `subject` has, and those of `other`.
        rule, remedy: the first and the last sentence of the error.
        subject, other: what the error calls the two.
        what: the names are of.
    """
    missing = sorted(set(wanted) - set(names))
    extra = sorted(set(names) - set(wanted))
    if missing or extra or len(names) != len(wanted):
        raise InputError(
            f"{rule} Received: {subject} lacks {_examples(missing)} and has {_examples(extra)} "
            f"besides ({len(names)} {what}, {other} {len(wanted)}). {remedy}"
        )


def _examples(names: Sequence[str], limit: int = 3) -> str:
    if not names:
        return "none"
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" * (len(names) > limit))


def sided_classes(classes: Iterable[str]) -> list[str]:
    """The classes whose names say left or right: the mirrored clip of one may be of another."""
    return [name for name in classes if {"left", "right"} & set(_words(name))]


def _words(name: str) -> list[str]:
    """The words of a name in lower case: `TurnLeft`, `turn_left` and `turn left` have the same."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]
