"""Where a run's teachers and first weights come from."""

from __future__ import annotations

import os
from collections.abc import Sequence

from perfnet_tf.errors import InputError
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.recognizers.load import Network
from perfnet_tf.recognizers.run_directory import Run


def describe(source: Network) -> str:
    """What `run.json` says of a source."""
    if isinstance(source, Run):
        return str(source.path)
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return getattr(source, "source", "") or "a function"


def copy_weights(source: Run, student: VideoModel, classes: Sequence[str]) -> bool:
    """Starts `student` from the weights of `source`.

    Args:
        source: a run of the same network, of any classes.
        student: built.
        classes: the student's class names; if they are not the source's, the student keeps its
            fresh classifier.

    Returns:
        Whether the classifier was copied, too.

    Raises:
        InputError: the networks differ.
    """
    theirs, ours = source.model, student
    keep_head = tuple(classes) == source.classes
    head = {id(variable) for variable in ours.classifier.variables}
    pairs = list(zip(ours.variables, theirs.variables, strict=False))
    differ = len(ours.variables) != len(theirs.variables) or any(
        mine.shape != other.shape for mine, other in pairs if keep_head or id(mine) not in head
    )
    if differ:
        raise InputError(
            "A run starts from weights of the same network. Received: "
            f"{source.config.model.backbone} of width {source.config.model.width_multiplier:g} "
            f"for {theirs.stream} in {source.path}, which differs from this run's "
            f"{ours.backbone} of width {ours.width_multiplier:g} for {ours.stream} "
            "or from its options. Take the network from there."
        )
    for mine, other in pairs:
        if keep_head or id(mine) not in head:
            mine.assign(other)
    return keep_head
