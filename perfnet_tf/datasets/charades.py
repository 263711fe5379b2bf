"""Charades, by its official lists: several labels per video.

    VIDEOS/46GP8.mp4                    Charades_v1, or Charades_v1_480; or folders of pictures:
                                        VIDEOS/46GP8/46GP8-000001.jpg (Charades_v1_rgb, 24 fps)
    LISTS/Charades_v1_train.csv         id,subject,scene,...,actions,length
    LISTS/Charades_v1_test.csv          the same
    LISTS/Charades_v1_classes.txt       c000 Holding some clothes

`actions` are `c092 11.90 21.20;c147 0.00 12.60`: class, start and end in seconds. A clip is a whole
video with the classes of all its actions, as Charades' own evaluation (`charades_v1_classify`)
takes it; videos without an action are left out, and counted.
"""

from __future__ import annotations

import re

from perfnet_tf.datasets.catalog import Catalog, StrPath, find_lists, read_lines, read_table
from perfnet_tf.datasets.json_lists import note_missing
from perfnet_tf.datasets.video_files import VideoIndex
from perfnet_tf.errors import InputError
from perfnet_tf.label_kinds import MULTI_LABEL
from perfnet_tf.records.schema import SourceClip

_SPLITS = ("train", "test")
_ACTION = re.compile(r"(c\d{3})( [\d.]+){2}")


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "charades"
) -> Catalog:
    """Reads Charades.

    Args:
        videos: folder of the videos.
        splits: folder of the lists; None looks in `videos`.
        split: ignored; there is one split.
        name: of the dataset.

    Returns:
        The clips that are there. Classes are in the order of their numbers.

    Raises:
        InputError: a list is missing or malformed, or no clip is there.
    """
    del split
    index = VideoIndex(videos)
    folder = find_lists(
        videos,
        splits,
        archive="Charades",
        marker="Charades_v1_train.csv",
        dataset="Charades",
    )
    named = dict(
        line.partition(" ")[::2] for _, line in read_lines(folder / "Charades_v1_classes.txt")
    )
    classes = tuple(named.values())
    places = {number: label for label, number in enumerate(named)}
    clips: list[SourceClip] = []
    missing: dict[str, str] = {}
    num_empty = 0
    for split_name in _SPLITS:
        path = folder / f"Charades_v1_{split_name}.csv"
        columns, rows = read_table(path)
        if not {"id", "actions"} <= set(columns):
            raise InputError(
                f"{path} must have the columns id and actions. Received: {', '.join(columns)}."
            )
        for where, row in rows:
            labels = _read_actions(row["actions"], places, where)
            if not labels:
                num_empty += 1
                continue
            file = index.find(row["id"])
            if file is None:
                missing[row["id"]] = split_name
                continue
            label, *others = labels
            clips.append(
                SourceClip(
                    row["id"],
                    file,
                    label,
                    classes[label],
                    split_name,
                    other_labels=tuple(others),
                    other_label_names=tuple(classes[other] for other in others),
                )
            )
    if not clips:
        raise InputError(f"No listed video is there. Received: {videos}, {len(missing)} listed.")
    notes = note_missing(missing, len(clips) + len(missing))
    if num_empty:
        notes = (*notes, f"{num_empty} listed videos show no action, and are left out.")
    return Catalog(
        name,
        classes,
        tuple(sorted(clips, key=lambda clip: clip.clip_id)),
        missing,
        notes,
        left_out=index.left_out,
        label_kind=MULTI_LABEL,
    )


def _read_actions(text: str, places: dict[str, int], where: str) -> list[int]:
    """The labels of an entry `actions`, in order."""
    labels = set()
    for action in filter(None, text.split(";")):
        match = _ACTION.fullmatch(action.strip())
        if match is None or match[1] not in places:
            raise InputError(
                "Actions are CLASS START END, the class being in Charades_v1_classes.txt, with "
                f"semicolons between. Received: {action!r} ({where})."
            )
        labels.add(places[match[1]])
    return sorted(labels)
