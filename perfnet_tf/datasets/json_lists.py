"""Lists that datasets publish as JSON."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from perfnet_tf.datasets.catalog import StrPath
from perfnet_tf.errors import InputError


def find_json(
    videos: StrPath, splits: StrPath | None, names: Mapping[str, Sequence[str]], dataset: str
) -> dict[str, pathlib.Path]:
    """The files of a dataset's lists.

    Args:
        videos, splits: as in `load_catalog`.
        names: what a list is -> globs of its file, the first that is there being taken.
        dataset: for the message.

    Returns:
        What a list is -> its file; all of `names`.

    Raises:
        InputError: one is not there.
    """
    top = pathlib.Path(videos if splits is None else splits)
    folders = [folder for folder in (top, top / "annotations", top / "labels") if folder.is_dir()]
    found: dict[str, pathlib.Path] = {}
    for kind, forms in names.items():
        files = (file for form in forms for folder in folders for file in sorted(folder.glob(form)))
        file = next(files, None)
        if file is None:
            raise InputError(
                f"{dataset} needs its list {forms[0]}. Received: "
                f"{'videos' if splits is None else 'splits'}={top}, which has none. Give the "
                "folder of the lists as `splits`."
            )
        found[kind] = file
    return found


def read_json(path: pathlib.Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The list {path} cannot be read: {error}.") from error


def read_entries(path: pathlib.Path, fields: Mapping[str, type]) -> list[dict[str, Any]]:
    """A list of objects, each with the named fields of these types.

    Raises:
        InputError: another content.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise InputError(f"{path} must be a list of clips.")
    for number, entry in enumerate(entries):
        for name, kind in fields.items():
            value = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise InputError(
                    f"Every clip of {path} needs {', '.join(fields)}. Received: entry {number} "
                    f"with {name}={value!r}."
                )
    return entries


def note_missing(missing: Mapping[str, str], num_listed: int) -> tuple[str, ...]:
    """A note if listed clips are not there."""
    if not missing:
        return ()
    return (
        f"{len(missing)} of {num_listed} listed clips are not there: state this number next to "
        "any accuracy.",
    )
