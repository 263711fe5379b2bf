"""The folder of a prepared dataset: its files, local or remote, read and checked.

The folder may be remote (`gs://bucket/data`), as a string: a `pathlib.Path` loses a slash of it.
Importing this module does not import TensorFlow; reading a remote folder does.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.files import write_atomically
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.records.schema import (
    DATASET_FILE,
    FAILURES_FILE,
    PARTS_FOLDER,
    ClipFailure,
    DatasetInfo,
    IndexEntry,
)
from perfnet_tf.records.validation import check_failure, check_index_entry, check_info

T = TypeVar("T")


def read_dataset_info(data_dir: str | pathlib.Path) -> DatasetInfo:
    """Reads `dataset.json` of a prepared dataset.

    Raises:
        InputError: the folder is missing or no prepared dataset, its preparation did not end, or
            the file is damaged.
    """
    path = record_path(data_dir, DATASET_FILE)
    try:
        return parse_dataset_info(_read_text(path), path)
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        if pathlib.Path(data_dir, PARTS_FOLDER).is_dir():
            raise InputError(
                f"The preparation of {data_dir} is not finished. Run the same perfnet prepare "
                "command again to resume it."
            ) from None
        raise InputError(
            f"A prepared dataset is a folder with a {DATASET_FILE}. Received: {data_dir}. "
            "Make one with perfnet prepare."
        ) from None
    except ValueError as error:  # bytes that are no text
        raise InputError(f"{path} is not valid JSON: {error}.") from error


def parse_dataset_info(content: str | bytes, path: str) -> DatasetInfo:
    """The content of `dataset.json`.

    Raises:
        InputError: it is damaged; `path` is for the message.
    """
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error
    try:
        check_info(values)
        lists = {name: tuple(values.get(name, ())) for name in ("classes", "sources")}
        return DatasetInfo(**{**values, **lists})
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged, or not of this version: {_reason(error)}. "
            "Copy it again, or prepare the data again."
        ) from error


def write_dataset_info(data_dir: str | pathlib.Path, info: DatasetInfo) -> None:
    """Writes `dataset.json` in one step: readers see all of it or nothing."""
    content = json.dumps(_without_unused(info), indent=2) + "\n"
    if storage.is_bucket(str(data_dir)):
        storage.write_atomically(record_path(data_dir, DATASET_FILE), content)
    else:
        write_atomically(pathlib.Path(data_dir) / DATASET_FILE, content, per_process=True)


def index_line(entry: IndexEntry) -> str:
    """The line of an index file, with its end."""
    values = dataclasses.asdict(entry)
    if not entry.other_labels:  # versions without the entry read it
        del values["other_labels"]
    return json.dumps(values) + "\n"


def _without_unused(info: DatasetInfo) -> dict[str, Any]:
    """The file's content; versions without an entry read it where the entry says nothing."""
    values = dataclasses.asdict(info)
    for name in ("sources", "num_flow_rescaled"):
        if not values[name]:
            del values[name]
    if info.label_kind == SINGLE_LABEL:
        del values["label_kind"]
    return values


def index_file(split: str) -> str:
    """Name of the file with the `IndexEntry` lines of a split."""
    return f"{split}.index.jsonl"


def read_index(data_dir: str | pathlib.Path, split: str) -> Iterator[IndexEntry]:
    """The clips of a split in stored order, without opening a record.

    Raises:
        InputError: there is no such dataset or split, or its index is missing or damaged.
    """
    info = read_dataset_info(data_dir)
    of_split = info.split(split)
    path = record_path(data_dir, index_file(split))

    def entry(values: Any) -> IndexEntry:
        check_index_entry(
            values,
            num_classes=info.num_classes,
            num_shards=len(of_split["shards"]),
            label_kind=info.label_kind,
        )
        others = tuple(values.get("other_labels", ()))
        return IndexEntry(**{**values, "other_labels": others})

    count = 0
    try:
        for found in _read_lines(path, entry):
            count += 1
            yield found
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: the prepared dataset is damaged. "
            "Copy it again, or prepare it again into an empty folder."
        ) from error
    if count != of_split["num_clips"]:
        raise InputError(
            f"{path} must have a line for each of the {of_split['num_clips']} clips that "
            f"{DATASET_FILE} counts. Received: {count}. Copy it again, or prepare the data again."
        )


def read_failures(data_dir: str | pathlib.Path) -> list[ClipFailure]:
    """Every line of `failures.jsonl`; empty where all went well.

    Raises:
        InputError: the file is damaged.
    """

    def failure(values: Any) -> ClipFailure:
        check_failure(values)
        return ClipFailure(**values)

    try:
        return list(_read_lines(record_path(data_dir, FAILURES_FILE), failure))
    except FileNotFoundError:
        return []


def _read_lines(path: str, make: Callable[[Any], T]) -> Iterator[T]:
    """What `make` makes of the JSON of each line."""
    number = 0
    try:
        for line in _read_text(path).split("\n"):
            number += 1
            if line:
                yield make(json.loads(line))
    except InputError:
        raise
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged in line {number}: {_reason(error)}. "
            "Copy it again, or prepare the data again."
        ) from error


def _reason(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def record_path(data_dir: str | pathlib.Path, name: str) -> str:
    """Path of the file `name` in a prepared dataset, local or remote."""
    if _is_remote(name):  # a shard of a subset
        return name
    if _is_remote(data_dir):
        return f"{str(data_dir).rstrip('/')}/{name}"
    return str(pathlib.Path(data_dir) / name)


def _is_remote(path: str | pathlib.Path) -> bool:
    return "://" in str(path)


def _read_text(path: str) -> str:
    """Raises `FileNotFoundError`, also of a remote file, and `InputError` of an unreadable one."""
    if not _is_remote(path):
        try:
            return pathlib.Path(path).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(path) as file:
            return str(file.read())
    except (tf.errors.NotFoundError, tf.errors.UnimplementedError) as error:
        raise FileNotFoundError(str(error)) from error
