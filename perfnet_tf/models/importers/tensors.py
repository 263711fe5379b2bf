"""Named tensors in the files that others publish; nothing here runs code from a file."""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError, first_line

#: Older releases run code that a crafted file holds even with `weights_only` (CVE-2025-32434).
_SAFE_TORCH = (2, 6)

#: What a TF2 checkpoint puts behind a variable's path.
TF2_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"

#: Where training scripts put a state dict within what they save, and its moving averages.
_STATE_KEYS = ("model", "state_dict", "model_state_dict", "net")
_AVERAGE_KEYS = ("model_ema", "state_dict_ema", "ema_state_dict")

#: Not imported: it is run.
_H5_PROCESS = pathlib.Path(__file__).with_name("h5_process.py")

_SAFETENSORS_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a file by name; each is read when it is asked for.

    Attributes:
        path: the file, for messages.
        shapes: name -> shape.
        names_in_file: name -> what the file calls it, for messages.
    """

    def __init__(
        self,
        path: pathlib.Path,
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], np.ndarray],
        names_in_file: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.shapes = dict(shapes)
        self.names_in_file = dict(names_in_file or {name: name for name in shapes})
        self._read = read

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.shapes:
            raise KeyError(name)
        try:
            return np.asarray(self._read(name))
        except (OSError, ValueError, LookupError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(
                f"{self.path} is damaged at {self.names_in_file[name]}: "
                f"{first_line(error)} Fetch it again."
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def renamed(self, names: Mapping[str, str]) -> Tensors:
        """The tensors that are values of `names`, under its keys."""
        shapes = {new: self.shapes[old] for new, old in names.items()}
        in_file = {new: self.names_in_file[old] for new, old in names.items()}
        return Tensors(self.path, shapes, lambda name: self._read(names[name]), in_file)

    def outside(self, inside: Tensors) -> list[str]:
        """What the file calls those of these tensors that are not among `inside`."""
        kept = set(inside.names_in_file.values())
        return sorted(name for name in self.names_in_file.values() if name not in kept)


def _existing(path: str | pathlib.Path) -> pathlib.Path:
    file = pathlib.Path(path)
    if not file.exists():
        raise InputError(f"There is no file of weights at {file}.")
    return file


def read_checkpoint(path: str | pathlib.Path) -> Tensors:
    """A TensorFlow checkpoint, of TF1's `Saver` in either format or of TF2.

    Args:
        path: its prefix (`model.ckpt`), one of its files (`model.ckpt.index`), the folder that
            holds it, or the folder of a SavedModel.

    Raises:
        InputError: there is none, or it is damaged.
    """
    prefix = _checkpoint_prefix(pathlib.Path(path))
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
    except (ValueError, IndexError, RuntimeError, tf.errors.OpError) as error:
        raise InputError(
            f"A TensorFlow checkpoint was expected, such as model.ckpt next to model.ckpt.index. "
            f"Received: {path} ({first_line(error)})."
        ) from error
    types = reader.get_variable_to_dtype_map()
    numeric = {
        name: tuple(shape)
        for name, shape in sorted(shapes.items())
        if types[name].is_floating or types[name].is_integer
    }
    names = {name: name.removesuffix(TF2_VALUE) for name in numeric}
    return Tensors(prefix, numeric, reader.get_tensor, names)


def _checkpoint_prefix(path: pathlib.Path) -> pathlib.Path:
    if path.is_dir():
        if (path / "variables" / "variables.index").is_file():
            return path / "variables" / "variables"
        latest = tf.train.latest_checkpoint(str(path))
        if latest is not None:
            return pathlib.Path(latest)
        found = sorted(path.glob("*.index"))
        if len(found) != 1:
            raise InputError(
                f"The folder of a checkpoint holds one. Received: {path} with {len(found)} of "
                "them. Name the checkpoint itself, such as FOLDER/model.ckpt."
            )
        return found[0].with_suffix("")
    name = path.name
    if name.endswith((".index", ".meta")) or ".data-" in name:
        return path.with_name(name.split(".data-")[0].removesuffix(".index").removesuffix(".meta"))
    if not path.exists() and not path.with_name(name + ".index").exists():
        raise InputError(f"There is no checkpoint at {path}.")
    return path


def read_torch(path: str | pathlib.Path, *, average: bool = False) -> Tensors:
    """A PyTorch state dict: `.pth`, by `torch.load(weights_only=True)`, or `.safetensors`.

    A checkpoint of a training script (`{"model": ..., "epoch": ...}`) is taken for its model.

    Args:
        path: of the file.
        average: whether to take the moving averages of the weights in such a checkpoint.

    Raises:
        InputError: no such file, another format, a file that would run code, a `.pth` without
            torch, or no averages where they are asked for.
    """
    file = _existing(path)
    if file.suffix == ".safetensors":
        return read_safetensors(file)
    try:
        import torch  # an extra, and only this needs it
    except ImportError as error:
        raise InputError(
            f"{file.name} is a PyTorch file, and reading it needs torch: pip install "
            "'perfnet-tf[torch]'. A .safetensors file needs nothing."
        ) from error
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _SAFE_TORCH:
        raise InputError(
            "Before release 2.6, torch.load could run code from a file. "
            f"Received: torch {torch.__version__}. Upgrade it."
        )
    try:
        # torchvision's training script keeps its command line next to the model; it holds values.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(str(file), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what pickle, zipfile and itself can think of
        raise InputError(
            f"A PyTorch state dict without code was expected. Received: {file} "
            f"({first_line(error)}). Save it by torch.save(model.state_dict(), FILE)."
        ) from error
    content = _state_dict(content, average, file)
    state = {
        str(name): value
        for name, value in (content.items() if isinstance(content, dict) else ())
        if torch.is_tensor(value)
    }
    if not state:
        raise InputError(
            f"A PyTorch state dict was expected. Received: {file}, which holds "
            f"{type(content).__name__}. Save it by torch.save(model.state_dict(), FILE)."
        )
    return Tensors(
        file,
        {name: tuple(value.shape) for name, value in state.items()},
        # float32 first: NumPy has no bfloat16 of torch's.
        lambda name: state[name].to(torch.float32).numpy(),
    )


def _state_dict(content: Any, average: bool, file: pathlib.Path) -> Any:
    """The names and tensors within what a training script saved."""
    keys = (*_STATE_KEYS, *_AVERAGE_KEYS)
    while isinstance(content, dict):
        inner = [key for key in keys if isinstance(content.get(key), dict)]
        averages = [key for key in inner if key in _AVERAGE_KEYS]
        if average and averages:
            inner, average = averages, False
        if not inner:
            break
        content = content[inner[0]]
    if average:
        raise InputError(
            f"`average` takes moving averages, {' or '.join(_AVERAGE_KEYS)} of a checkpoint. "
            f"Received: {file}, which has none. Leave it out."
        )
    return content


def read_safetensors(path: str | pathlib.Path) -> Tensors:
    """A `.safetensors` file: a length, a JSON table, and bytes.

    Raises:
        InputError: no such file, or it is damaged.
    """
    file = _existing(path)
    try:
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            table: Any = json.loads(stream.read(length)) if length < file.stat().st_size else None
        entries = {name: value for name, value in table.items() if name != "__metadata__"}
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        data = np.memmap(file, np.uint8, "r", offset=8 + length)

        def read(name: str) -> np.ndarray:
            begin, end = entries[name]["data_offsets"]
            dtype = np.dtype(_SAFETENSORS_DTYPES[entries[name]["dtype"]])
            return np.asarray(data[begin:end].view(dtype).reshape(shapes[name]).copy())

        for name, entry in entries.items():
            begin, end = entry["data_offsets"]
            size = np.dtype(_SAFETENSORS_DTYPES[entry["dtype"]]).itemsize
            if not 0 <= begin <= end <= len(data) or end - begin != size * np.prod(shapes[name]):
                raise ValueError(f"{name} is not where the table says")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(f"{file} is not a whole .safetensors file: {error}.") from error
    return Tensors(file, shapes, read)


def read_keras_h5(path: str | pathlib.Path) -> Tensors:
    """Weights of a Keras model in HDF5, one tensor a name such as `conv1_conv/kernel`.

    Args:
        path: what Keras 2 publishes and `model.save_weights("x.h5")` writes.

    Raises:
        InputError: no such file, or another format.
    """
    file = _existing(path)
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder) / "tensors.npz"
        # In a separate process: HDF5's library ends it on some damaged files.
        process = subprocess.run(
            [sys.executable, str(_H5_PROCESS), str(file.absolute()), str(output)],
            capture_output=True,
            text=True,
        )
        found = json.loads(process.stdout) if process.stdout.strip() else None
        if not isinstance(found, list):
            reason = found or f"the process that read it ended with status {process.returncode}"
            raise InputError(
                f"Weights in Keras' HDF5 format were expected. Received: {file} ({reason})."
            )
        with np.load(output, allow_pickle=False) as arrays:
            values = {name: arrays[str(index)] for index, name in enumerate(found)}
    return Tensors(file, {name: value.shape for name, value in values.items()}, values.__getitem__)
