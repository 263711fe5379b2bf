"""Writes the flow of records as files that other programs read."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.flow.stored_files import flow_to_levels, write_flo, write_picture
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.records.reader import check_streams, parse_clip, read_record
from perfnet_tf.records.schema import DatasetInfo, IndexEntry
from perfnet_tf.streams import FLOW

FLOW_FILES = ("flo", "jpeg")


def export_flow(
    data_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    form: str,
    *,
    splits: Sequence[str] | None = None,
    progress: Callable[[Sequence[IndexEntry]], Iterator[IndexEntry]] = iter,
) -> int:
    """Writes the flow of every clip, as `prepare` with `flow="folder"` reads it.

    `OUTPUT/CLIP_ID/flow_00001.flo`, or `flow_x_00001.jpg` and `flow_y_00001.jpg` with the levels of
    denseflow, its bound that of the records. A clip of n frames has n - 1: the last frame's flow
    repeats the one before it. `.flo` files hold what the records hold; JPEG loses a little.

    Args:
        data_dir: the prepared dataset.
        output: new or empty folder.
        form: one of `FLOW_FILES`.
        splits: splits to write; None writes all.
        progress: wraps the iteration over the clips of a split.

    Returns:
        The number of clips.

    Raises:
        InputError: no such dataset, records without flow, a damaged record, or a folder that holds
            something.
    """
    check_choice("flow", form, FLOW_FILES)
    data_dir, output = os.fspath(data_dir), pathlib.Path(output)
    info = read_dataset_info(data_dir)
    check_streams([FLOW], info)
    check_new_or_empty(output)
    entries = {split: list(read_index(data_dir, split)) for split in splits or tuple(info.splits)}
    for split, clips in entries.items():
        for entry in progress(clips):
            folder = output / entry.clip_id
            if not folder.resolve().is_relative_to(output.resolve()):
                raise InputError(
                    f"The id of a clip names its folder in the output. Received: {entry.clip_id!r}."
                )
            folder.mkdir(parents=True, exist_ok=True)
            _write_flow(folder, _read_flow(data_dir, info, split, entry), form, info.flow_bound)
    return sum(map(len, entries.values()))


def _write_flow(folder: pathlib.Path, flow: np.ndarray, form: str, bound: float) -> None:
    for number, frame in enumerate(flow[:-1], start=1):
        if form == "flo":
            write_flo(folder / f"flow_{number:05d}.flo", frame)
            continue
        levels = flow_to_levels(frame, bound)
        for axis, name in enumerate("xy"):
            write_picture(folder / f"flow_{name}_{number:05d}.jpg", levels[..., axis])


def _read_flow(data_dir: str, info: DatasetInfo, split: str, entry: IndexEntry) -> np.ndarray:
    serialized = read_record(data_dir, info, split, entry)
    try:
        clip = parse_clip(serialized, indices=tf.range, streams=[FLOW], info=info)
    except tf.errors.OpError as error:
        raise InputError(f"The record of {entry.clip_id} is damaged. Prepare it again.") from error
    return np.asarray(clip[FLOW].numpy())
