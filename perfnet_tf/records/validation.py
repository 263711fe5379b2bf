"""Whether the JSON of a prepared dataset is valid: it may be damaged, or another program's.

Everything here takes plain JSON values and raises `ValueError` with what is wrong, in a few words;
`KeyError` of what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from perfnet_tf.classes import classes_digest
from perfnet_tf.label_kinds import LABEL_KINDS, SINGLE_LABEL

#: No file of records is larger, and TensorFlow's offsets hold it.
MAX_OFFSET = 2**60
#: Limits of the settings in `dataset.json`.
MAX_PEOPLE = 1000
MAX_SIDE = 16384
MAX_FLOW_BOUND = 1e6


def check_info(values: Any) -> None:
    """Checks the content of `dataset.json`, and the counts in it against each other."""
    check_kind(values, "its content", dict)
    check_kind(values["name"], "name", str)
    classes = values["classes"]
    _check_list(classes, "classes", lambda name: isinstance(name, str) and name != "")
    if not classes or len(set(classes)) < len(classes):
        raise ValueError("classes must be different names, at least one")
    check_kind(values["splits"], "splits", dict)
    for name, split in values["splits"].items():
        _check_split(f"splits.{name}", split)
    if values["fps"] is not None:
        check_number(values["fps"], "fps", above=0, most=1000)
    check_whole(values["short_side"], "short_side", 1, MAX_SIDE)
    check_whole(values["max_people"], "max_people", 1, MAX_PEOPLE)
    for name in ("pose", "flow"):
        if values[name] is not None:
            check_kind(values[name], name, str)
    _check_list(values.get("sources", []), "sources", lambda name: isinstance(name, str))
    check_number(values["flow_bound"], "flow_bound", above=0, most=MAX_FLOW_BOUND)
    for name in ("num_failed", "num_truncated", "num_deinterlaced", "num_flow_rescaled"):
        check_whole(values.get(name, 0), name, 0)
    check_kind(values.get("square_pixels", True), "square_pixels", bool)
    if values.get("label_kind", SINGLE_LABEL) not in LABEL_KINDS:
        raise ValueError(f"label_kind is out of range: {_short(values['label_kind'])}")
    versions = values.get("versions", {})
    check_kind(versions, "versions", dict)
    _check_list(list(versions.values()), "versions", lambda version: isinstance(version, str))
    parameters = values.get("parameters", {})
    check_kind(parameters, "parameters", dict)
    digest = parameters.get("classes_sha256")
    if digest is not None and digest != classes_digest(classes):
        raise ValueError("its classes, or their order, are not those of the preparation")


def check_index_entry(
    values: Any, *, num_classes: int, num_shards: int, label_kind: str = SINGLE_LABEL
) -> None:
    """Checks a line of an index."""
    check_kind(values, "a line", dict)
    check_kind(values["clip_id"], "clip_id", str)
    check_whole(values["label"], "label", 0, num_classes - 1)
    others = values.get("other_labels", [])
    _check_list(others, "other_labels", lambda label: _is_count(label) and label < num_classes)
    labels = [values["label"], *others]
    if others and (label_kind == SINGLE_LABEL or sorted(set(labels)) != labels):
        raise ValueError(f"other_labels holds what it must not: {_short(others)}")
    check_whole(values["num_frames"], "num_frames", 1, 2**31 - 1)
    check_whole(values["shard"], "shard", 0, num_shards - 1)
    check_whole(values["offset"], "offset", 12, MAX_OFFSET)
    check_whole(values["length"], "length", 0, MAX_OFFSET)
    if values.get("group") is not None:
        check_kind(values["group"], "group", str)


def check_failure(values: Any) -> None:
    """Checks a line of `failures.jsonl`."""
    check_kind(values, "a line", dict)
    for name in ("clip_id", "path", "split", "cause"):
        check_kind(values[name], name, str)
    check_kind(values.get("kept", False), "kept", bool)


def _check_split(where: str, split: Any) -> None:
    check_kind(split, where, dict)
    for name in ("num_clips", "num_frames"):
        check_whole(split[name], f"{where}.{name}", 0)
    for name in ("shards", "sha256"):
        _check_list(split[name], f"{where}.{name}", lambda item: isinstance(item, str))
    _check_list(split["clips_per_shard"], f"{where}.clips_per_shard", _is_count)
    lengths = {len(split[name]) for name in ("shards", "sha256", "clips_per_shard")}
    if len(lengths) > 1 or sum(split["clips_per_shard"]) != split["num_clips"]:
        raise ValueError(f"the counts of {where} contradict each other")
    if any(not name or "\0" in name for name in split["shards"]):
        raise ValueError(f"{where}.shards must be names of files")
    for name in ("clips_per_class", "pose_quality"):
        check_kind(split[name], f"{where}.{name}", dict)
    counts = list(split["clips_per_class"].values())
    _check_list(counts, f"{where}.clips_per_class", _is_count)
    for name, quality in split["pose_quality"].items():
        check_kind(quality, f"{where}.pose_quality.{name}", dict)
        for key in ("person", "keypoints"):
            check_number(quality[key], f"{where}.pose_quality.{name}.{key}", least=0, most=1)


def check_kind(value: Any, name: str, kind: type) -> None:
    """Raises `ValueError` unless `value` is of `kind`."""
    if not isinstance(value, kind):
        words = {dict: "an object", str: "a text", bool: "true or false"}
        raise ValueError(f"{name} must be {words[kind]}, and is {_short(value)}")


def _check_list(value: Any, name: str, good: Callable[[Any], bool]) -> None:
    if not isinstance(value, list) or not all(map(good, value)):
        raise ValueError(f"{name} holds what it must not: {_short(value)}")


def check_whole(value: Any, name: str, least: int, most: int = 2**53) -> None:
    """Raises `ValueError` unless `value` is an integer from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, and is {_short(value)}")


def check_number(
    value: Any, name: str, *, above: float = -math.inf, least: float = -math.inf, most: float
) -> None:
    """Raises `ValueError` unless `value` is a number, above `above`, from `least` to `most`."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not (above < value <= most and value >= least):
        raise ValueError(f"{name} is out of range: {_short(value)}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53


def _short(value: Any) -> str:
    kept = dict(list(value.items())[:3]) if isinstance(value, Mapping) else value
    text = repr(kept[:3] if isinstance(kept, list) else kept)
    return text if len(text) <= 60 else f"{text[:56]} ..."
