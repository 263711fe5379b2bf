"""Any videos, in folders of any depth, as clips without labels: for `--unlabelled`.

Records always have a class: these have one, which is called `unlabelled` and means nothing.
"""

from __future__ import annotations

import pathlib

from perfnet_tf.datasets.catalog import Catalog, VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip

CLASS = "unlabelled"


def read_catalog(
    videos: pathlib.Path, lists: pathlib.Path | None, split: int, *, name: str
) -> Catalog:
    """Every video below a folder, in the split `train`; see `datasets.catalog.load_catalog`.

    Raises:
        InputError: the folder is missing or has no video, two videos have the same id, or there are
            lists.
    """
    index = VideoIndex(videos)
    if lists is not None:
        raise InputError(
            f"Videos without labels have no lists. Received: {lists}. Leave it out, or name the "
            "dataset that the lists are of."
        )
    clips = [
        SourceClip(
            clip_id=index.clip_id(file),
            path=index.path_of(file),
            label=0,
            label_name=CLASS,
            split="train",
        )
        for file in index.files
    ]
    clips.sort(key=lambda clip: clip.clip_id)
    note = "For --unlabelled of perfnet distill and fit-classifier, and for perfnet transfer."
    return Catalog(name, (CLASS,), tuple(clips), notes=(note,), left_out=index.left_out)
