"""Where a run's teachers and first weights come from."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfnet_tf.errors import InputError
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.models.inflation import rgb_kernel_for_flow
from perfnet_tf.models.input_normalization import INPUT_SCALINGS
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.load import Network
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.streams import FLOW, STREAM_CHANNELS, STREAMS
from perfnet_tf.training.run_identity import RECORDS_DIGEST

_UNCHANGED, _AVERAGED = "unchanged", "averaged over colour and repeated over (dx, dy)"


def describe(source: Network) -> str:
    """What `run.json` says of a source."""
    if isinstance(source, Run):
        return str(source.path)
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return getattr(source, "source", "") or "a function"


def describe_dataset(info: DatasetInfo, split: str) -> dict[str, Any]:
    """What `run.json` says of the training data."""
    return {
        "name": info.name,
        "num_clips": info.split(split)["num_clips"],
        "fps": info.fps,
        "short_side": info.short_side,
        "square_pixels": info.square_pixels,
        "versions": dict(info.versions),
        RECORDS_DIGEST: info.records_digest(split),
        **({} if info.label_kind == SINGLE_LABEL else {"label_kind": info.label_kind}),
    }


def read_unlabelled_info(folder: str | pathlib.Path, info: DatasetInfo, split: str) -> DatasetInfo:
    """What is known of a prepared dataset of clips without labels.

    Args:
        folder: of the dataset.
        info: of the dataset with labels.
        split: that is learnt from.

    Raises:
        InputError: there is no such dataset or split, or its frame rate is another.
    """
    other = read_dataset_info(folder)
    other.split(split)
    if other.fps != info.fps:
        raise InputError(
            "Clips with and without labels have the same frame rate. Received: "
            f"{info.fps} fps and, without labels, {other.fps} fps in {folder}. Prepare them again "
            "at one rate."
        )
    return other


@dataclass(frozen=True)
class CarriedOver:
    """What a network was started with.

    Attributes:
        stream: what the source receives.
        first_kernels: `unchanged`, or `averaged over colour and repeated over (dx, dy)`.
        classes: how many of the student's classes got their part of the classifier.
        num_classes: of the student.
        pretrained: what is known of the published weights among its ancestors; empty without.
    """

    stream: str
    first_kernels: str
    classes: int
    num_classes: int
    pretrained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def averages_fit(self) -> bool:
        """Whether the moving averages of batch norms are of inputs like those of the student."""
        return self.first_kernels == _UNCHANGED

    def record(self) -> dict[str, Any]:
        """For `run.json`."""
        return {
            "stream": self.stream,
            "first_kernels": self.first_kernels,
            "classes": self.classes,
        }

    def ancestry(self) -> dict[str, Any]:
        """For `run.json`: `pretrained`, if there are published weights among the ancestors."""
        if not self.pretrained:
            return {}
        return {"pretrained": {**self.pretrained, "trained_further": True}}

    def __str__(self) -> str:
        return (
            f"first weights from a network of {self.stream}, first kernels {self.first_kernels}; "
            f"classifier: {self.classes} of {self.num_classes} classes carried over by name"
        )


def copy_weights(source: Run, student: VideoModel, classes: Sequence[str]) -> CarriedOver:
    """Starts `student` from the weights of `source`.

    Streams of equally many channels share their weights: a pose network starts from RGB's as they
    are. A flow network starts from RGB's with the first kernels averaged over colour and repeated
    over (dx, dy), scaled so that activations keep their size (`rgb_kernel_for_flow`).

    Args:
        source: a run of the same network, of any classes, and of a stream as above.
        student: built, no layer of it frozen.
        classes: the student's class names. Those that the source has as well, in any order, get
            its part of the classifier; the others keep their new one.

    Returns:
        What was carried over.

    Raises:
        InputError: the networks differ, or the streams do not fit.
    """
    theirs, ours = source.model, student
    averages = _averages_color(theirs.stream, ours.stream)
    head = {id(variable) for variable in ours.classifier.variables}
    pairs = [
        (mine, other.numpy())
        for mine, other in zip(ours.variables, theirs.variables, strict=False)
        if id(mine) not in head
    ]
    if averages:
        pairs = [
            (mine, value if mine.shape == value.shape else _for_flow(value, theirs))
            for mine, value in pairs
        ]
    parts = list(zip(ours.classifier.variables, theirs.classifier.variables, strict=False))
    same = len(ours.variables) == len(theirs.variables)
    same = same and all(mine.shape == value.shape for mine, value in pairs)
    same = same and all(mine.shape[:-1] == other.shape[:-1] for mine, other in parts)
    if not same:
        raise InputError(
            "A run starts from weights of the same network. Received: "
            f"{source.config.model.backbone} of width {source.config.model.width_multiplier:g} "
            f"for {theirs.stream} in {source.path}, which differs from this run's "
            f"{ours.backbone} of width {ours.width_multiplier:g} for {ours.stream} "
            "or from its options. Take the network from there."
        )
    for mine, value in pairs:
        mine.assign(value)
    places = {name: label for label, name in enumerate(source.classes)}
    found = [(label, places[name]) for label, name in enumerate(classes) if name in places]
    for mine, other in parts:
        value, columns = mine.numpy(), other.numpy()
        for label, place in found:
            value[..., label] = columns[..., place]
        mine.assign(value)
    kernels = _AVERAGED if averages else _UNCHANGED
    published = source.record.get("pretrained", {})
    return CarriedOver(theirs.stream, kernels, len(found), len(classes), published)


def _averages_color(source: str, student: str) -> bool:
    """Whether weights of the stream `source` must be adapted for `student`.

    Raises:
        InputError: they cannot be.
    """
    channels = STREAM_CHANNELS[source], STREAM_CHANNELS[student]
    if channels[0] == channels[1]:
        return False
    if student == FLOW and channels == (3, 2) and STREAMS[source].is_picture:
        return True
    raise InputError(
        "A network starts from weights of a stream with as many channels, and a flow network also "
        f"from those of pictures. Received: weights for {source} ({channels[0]} channels), a "
        f"network for {student} ({channels[1]}). Start it from weights of its own stream."
    )


def _for_flow(kernel: np.ndarray, source: VideoModel) -> np.ndarray:
    """A first kernel for flow in [-1, 1], of one for pictures as the source scales them."""
    if kernel.ndim < 2 or kernel.shape[-2] != STREAM_CHANNELS[source.stream]:
        return kernel
    deviation = np.array(INPUT_SCALINGS[source.input_scaling][1], kernel.dtype)
    # Half of the range of the pictures' levels, 1 where they are in [-1, 1].
    half_range = 0.5 / deviation[:, None]  # [3, 1]
    return rgb_kernel_for_flow(kernel * half_range)
