"""Something-Something v2, by its JSON lists.

    VIDEOS/78687.webm                             or folders: VIDEOS/78687/img_00001.jpg
    LISTS/something-something-v2-train.json       [{"id": "78687", "label": "holding potato next to
                                                  vicks vaporub bottle", "template": "Holding
                                                  [something] next to [something]", ...}, ...]
    LISTS/something-something-v2-validation.json  the same
    LISTS/something-something-v2-labels.json      {"Approaching something with your camera": "0",
                                                  ...}

The class is the template without its brackets. Later releases call the lists train.json,
validation.json and labels.json. The test list has no labels and is left out. Layout as mmaction2's
`tools/data/parse_file_list.py` (`parse_sthv2_splits`) reads it.
"""

from __future__ import annotations

from perfnet_tf.classes import read_class_names
from perfnet_tf.datasets.catalog import Catalog, StrPath
from perfnet_tf.datasets.json_lists import find_json, note_missing, read_entries
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip

_LISTS = {"train": "train", "val": "validation"}


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "ssv2"
) -> Catalog:
    """Reads Something-Something v2.

    Args:
        videos: folder of the videos, `ID.webm`.
        splits: folder of the lists; None looks in `videos`, its `annotations` and its `labels`.
        split: ignored; there is one split.
        name: of the dataset.

    Returns:
        The clips that are there, the validation as `val`. Classes are in the order of the labels.

    Raises:
        InputError: a list is missing or malformed, a template is no label, or no clip is there.
    """
    del split
    index = VideoIndex(videos)
    names = {kind: (f"*{kind}.json",) for kind in (*_LISTS.values(), "labels")}
    files = find_json(videos, splits, names, "Something-Something v2")
    classes = read_class_names(files["labels"])
    labels = {class_name: label for label, class_name in enumerate(classes)}
    clips: list[SourceClip] = []
    missing: dict[str, str] = {}
    for split_name, kind in _LISTS.items():
        for entry in read_entries(files[kind], {"id": str, "template": str}):
            label_name = entry["template"].replace("[", "").replace("]", "")
            if label_name not in labels:
                raise InputError(
                    f"Every template must be in {files['labels'].name}. Received: "
                    f"{label_name!r} of {entry['id']} ({files[kind]})."
                )
            path = index.find(entry["id"])
            if path is None:
                missing[entry["id"]] = split_name
                continue
            clips.append(SourceClip(entry["id"], path, labels[label_name], label_name, split_name))
    notes = note_missing(missing, len(missing) + len(clips))
    return Catalog(name, classes, tuple(clips), missing, notes, index.left_out)
