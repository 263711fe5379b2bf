"""Where a run's teachers and first weights come from."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from perfnet_tf.distill.teachers import NamedTeacher, Teacher, load_saved_teacher
from perfnet_tf.errors import InputError
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.training.run_directory import Run, is_run, load_run


def load_teacher(
    source: Teacher | NamedTeacher | Run | str | pathlib.Path, *, precision: str = "float32"
) -> Teacher:
    """A teacher from a run, a SavedModel, or a TF Hub handle.

    Args:
        source: a folder or handle, or what was loaded from one. A SavedModel that is not of
            `perfnet export` is a `NamedTeacher`.
        precision: a run's network computes in.

    Raises:
        InputError: there is neither a run nor a SavedModel, or the run has not finished.
    """
    if isinstance(source, Teacher):
        return source
    if isinstance(source, NamedTeacher):
        if not is_run(source.handle):
            return load_saved_teacher(source.handle, classes=source.classes, stream=source.stream)
        teacher = load_teacher(source.handle, precision=precision)
        return teacher if source.classes is None else teacher.renamed(source.classes)
    if not isinstance(source, Run):
        if not is_run(source):
            return load_saved_teacher(source)
        source = load_run(source, precision=precision)
    model = source.model
    return Teacher(
        lambda inputs: model(inputs, training=False),
        source.config.stream,
        source.classes,
        source.config.pose_render,
        str(source.path),
    )


def describe(source: Teacher | NamedTeacher | Run | str | pathlib.Path) -> str:
    """What `run.json` says of a source."""
    if isinstance(source, NamedTeacher):
        return source.handle
    if isinstance(source, Teacher):
        return source.source or "a function"
    return str(source.path if isinstance(source, Run) else source)


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
            "A run starts from weights of its own network. Received: "
            f"{source.config.model.backbone} of width {source.config.model.width_multiplier:g} "
            f"for {theirs.stream} in {source.path}, which differs from this run's "
            f"{ours.backbone} of width {ours.width_multiplier:g} for {ours.stream} "
            "or from its options. Take the network from there."
        )
    for mine, other in pairs:
        if keep_head or id(mine) not in head:
            mine.assign(other)
    return keep_head
