"""Diving48, by its JSON lists (version 2).

    VIDEOS/_8Vy3dlHg2w_00000.mp4     or folders of pictures, VIDEOS/_8Vy3dlHg2w_00000/img_00001.jpg
    LISTS/Diving48_V2_train.json     [{"vid_name": "_8Vy3dlHg2w_00000", "label": 0,
                                     "start_frame": 0, "end_frame": 48}, ...]
    LISTS/Diving48_V2_test.json      the same
    LISTS/Diving48_vocab.json        [["Back", "15som", "05Twis", "FREE"], ...], in label order

Source: http://www.svcl.ucsd.edu/projects/resound/dataset.html. The videos are cut to the dives: a
clip that starts at frame 0 is its whole video; another is the frames from `start_frame` to before
`end_frame`.
"""

from __future__ import annotations

from typing import Any

from perfnet_tf.classes import check_class_names
from perfnet_tf.datasets.catalog import Catalog, StrPath
from perfnet_tf.datasets.json_lists import find_json, note_missing, read_entries, read_json
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SourceClip

_FIELDS = {"vid_name": str, "label": int, "start_frame": int, "end_frame": int}


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "diving48"
) -> Catalog:
    """Reads Diving48.

    Args:
        videos: folder of the videos, or of the folders of pictures.
        splits: folder of the lists; None looks in `videos` and its `annotations`.
        split: ignored; there is one split.
        name: of the dataset.

    Returns:
        The clips that are there. A class is called by the four words of its dive.

    Raises:
        InputError: a list is missing or malformed, or no clip is there.
    """
    del split
    index = VideoIndex(videos)
    names = {
        "train": ("Diving48_V2_train.json", "*train.json"),
        "test": ("Diving48_V2_test.json", "*test.json"),
        "vocab": ("Diving48_vocab.json", "*vocab.json"),
    }
    files = find_json(videos, splits, names, "Diving48")
    vocabulary = read_json(files["vocab"])
    if not isinstance(vocabulary, list) or not all(
        isinstance(words, list) and all(isinstance(word, str) for word in words)
        for words in vocabulary
    ):
        raise InputError(f"{files['vocab']} must be a list of dives, each a list of words.")
    classes = tuple(" ".join(words) for words in vocabulary)
    check_class_names(classes)
    clips: list[SourceClip] = []
    missing: dict[str, str] = {}
    for split_name in ("train", "test"):
        for entry in read_entries(files[split_name], _FIELDS):
            path = index.find(entry["vid_name"])
            if path is None:
                missing[entry["vid_name"]] = split_name
                continue
            clips.append(_clip(entry, path, classes, split_name))
    notes = note_missing(missing, len(missing) + len(clips))
    return Catalog(name, classes, tuple(clips), missing, notes, index.left_out)


def _clip(entry: dict[str, Any], path: str, classes: tuple[str, ...], split: str) -> SourceClip:
    name, label, start, end = (entry[field] for field in _FIELDS)
    if not 0 <= label < len(classes) or not 0 <= start < end:
        raise InputError(
            f"A clip has a label below {len(classes)}, and starts before it ends. "
            f"Received: {entry}."
        )
    part = {"first_frame": start, "num_frames": end - start} if start else {}
    return SourceClip(name, path, label, classes[label], split, **part)
