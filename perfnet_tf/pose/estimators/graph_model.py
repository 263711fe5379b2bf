"""Reads TensorFlow.js graph models: a JSON file with the graph, and binary files with its weights.

The JSON holds the GraphDef (`modelTopology`) and a manifest of binary files, whose bytes are the
weights one after another, little-endian. Weights may be stored as float16 or as uint8 or uint16
with a scale and a minimum. Reading them runs nothing; what runs a graph (`graph_function`) takes
arithmetic only.

Source: the format written by `tensorflowjs_converter --output_format=tfjs_graph_model`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError

_DTYPES = {"float32": "<f4", "float16": "<f2", "int32": "<i4", "uint16": "<u2", "uint8": "u1"}
_DTYPES["bool"] = "u1"


@dataclass(frozen=True)
class GraphModel:
    """A graph and its weights.

    Attributes:
        path: the JSON file.
        nodes: name -> NodeDef as JSON, in the file's order.
        weights: name of a Const node -> its value; floats are float32.
        topology: the whole GraphDef as JSON.
        signature: inputs and outputs as JSON; empty if the file names none.
    """

    path: Path
    nodes: Mapping[str, Mapping[str, Any]]
    weights: Mapping[str, np.ndarray]
    topology: Mapping[str, Any]
    signature: Mapping[str, Any]


def read_graph_model(path: str | os.PathLike[str], preferred: Iterable[str] = ()) -> GraphModel:
    """Reads a graph model from its JSON file, or from the folder that holds it.

    Args:
        path: the JSON file or its folder.
        preferred: names of JSON files to look for when a folder holds several graph models.

    Raises:
        InputError: nothing there, files are missing or incomplete, or in another format.
    """
    path = _find_json(Path(path), preferred)
    content = _load_json(path)
    if not _is_graph_model(content):
        raise InputError(
            f"{path} is not a TensorFlow.js graph model: it lacks modelTopology.node or "
            "weightsManifest. Layers models and TFLite files are not read."
        )
    topology = content["modelTopology"]
    try:
        nodes = {node["name"]: node for node in topology["node"]}
        weights = {
            name: value
            for group in content["weightsManifest"]
            for name, value in _read_group(path, group).items()
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The weight manifest of {path} is malformed: {error!r}.") from error
    return GraphModel(path, nodes, weights, topology, content.get("signature") or {})


@contextlib.contextmanager
def explaining_damaged_graph(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a network is built from a graph into `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a graph may be wrong in as many ways as TensorFlow has checks
        reason = str(error).strip().splitlines()
        raise InputError(
            f"{path} is damaged, or of another network: {type(error).__name__}: "
            f"{reason[0][:200] if reason else 'no reason given'}. Fetch it again: "
            "perfnet pose-weights."
        ) from error


def string_list_attribute(node: Mapping[str, Any], name: str) -> list[str]:
    """A list of strings, decoded; empty if absent."""
    values = node.get("attr", {}).get(name, {}).get("list", {}).get("s", [])
    return [_decode(value) for value in values]


def _decode(value: str) -> str:
    return base64.b64decode(value).decode()


def _find_json(path: Path, preferred: Iterable[str]) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"There is no folder or file of pose weights at {path}.")
    candidates = [path / name for name in preferred if (path / name).is_file()]
    if candidates:
        return candidates[0]
    candidates = [name for name in sorted(path.glob("*.json")) if _is_graph_model(_load_json(name))]
    if len(candidates) == 1:
        return candidates[0]
    found = ", ".join(name.name for name in candidates) or "none"
    raise InputError(
        f"{path} must hold one TensorFlow.js graph model (a .json file and its .bin files). "
        f"Found: {found}. Name the .json file itself if there are several."
    )


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from error


def _is_graph_model(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and isinstance(content.get("weightsManifest"), list)
        and isinstance(content.get("modelTopology"), dict)
        and isinstance(content["modelTopology"].get("node"), list)
    )


def _read_group(path: Path, group: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The weights of one group of the manifest, whose files are read as one run of bytes."""
    outside = [name for name in group["paths"] if PurePosixPath(name).name != name or name == ".."]
    if outside:
        raise InputError(f"{path} names a file outside of its folder: {outside[0]!r}.")
    files = [path.parent / name for name in group["paths"]]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{path} needs {', '.join(missing)} in the same folder. Fetch all files of the model."
        )
    data = b"".join(file.read_bytes() for file in files)
    weights, start = {}, 0
    for entry in group["weights"]:
        dtype = _stored_dtype(path, entry)
        end = start + dtype.itemsize * int(np.prod(entry["shape"], dtype=np.int64))
        if end <= len(data):
            stored = np.frombuffer(data[start:end], dtype).reshape(entry["shape"])
            weights[entry["name"]] = _dequantize(stored, entry)
        start = end
    if start != len(data):
        raise InputError(
            f"{', '.join(file.name for file in files)} must hold {start} bytes for {path.name}. "
            f"Received: {len(data)} bytes. Fetch the files again."
        )
    return weights


def _stored_dtype(path: Path, entry: Mapping[str, Any]) -> np.dtype:
    name = entry.get("quantization", entry).get("dtype")
    if name not in _DTYPES:
        raise InputError(f"Weight {entry['name']} of {path} has dtype {name!r}, which is not read.")
    return np.dtype(_DTYPES[name])


def _dequantize(stored: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    quantization = entry.get("quantization", {})
    if "scale" in quantization:
        values = stored * np.float64(quantization["scale"]) + quantization.get("min", 0.0)
        stored = np.rint(values) if entry["dtype"] == "int32" else values
    return stored.astype(entry["dtype"])
