"""Kinetics 400, 600 and 700, by the official CSV files.

    VIDEOS/abseiling/yq_M1PMw2hY_000038_000048.mp4     or flat, or below train/ and val/
    SPLITS/kinetics-600_val.csv                        label,youtube_id,time_start,time_end,split

Clips vanish from the web all the time, so a listed clip may be missing: it is counted in
`Catalog.missing`. The official test lists of some editions have no labels and are left out.

Copies differ, and are read as they are: seconds in any number of digits (`ID_38_48.mp4`), two
extensions (`ID_000038_000048.mp4.mkv`), class folders without blanks, brackets and apostrophes,
text lists next to the CSV files (`kinetics_lists`). CVDF's `replacement_for_corrupted_k400` is
preferred to the broken files that it replaces.
"""

from __future__ import annotations

import collections
import pathlib

from perfnet_tf.datasets.catalog import Catalog
from perfnet_tf.datasets.kinetics_lists import (
    ListedClip,
    label_key,
    parse_stem,
    read_kinetics_lists,
    read_published_classes,
)
from perfnet_tf.datasets.split_names import SPLIT_NAMES
from perfnet_tf.datasets.video_files import StrPath, VideoIndex, unlisted_note, video_stem
from perfnet_tf.errors import InputError
from perfnet_tf.records.schema import SPLITS, SourceClip

__all__ = ["read_catalog", "read_published_classes"]

_REPLACEMENT = "replacement_for_corrupted"


def read_catalog(
    videos: StrPath, splits: StrPath | None = None, split: int = 1, *, name: str = "kinetics600"
) -> Catalog:
    """Reads an edition of Kinetics.

    Args:
        videos: folder of the clips, in class folders, split folders, or flat. A clip's file is
            called `ID_START_END` (seconds), or `ID` alone.
        splits: folder of the lists, or one list; None looks in `videos` and its `annotations`.
            CSV files with the number of another edition in their name are left out.
        split: ignored; Kinetics has one split.
        name: `kinetics400`, `kinetics600` or `kinetics700`.

    Returns:
        The clips that are there. The classes are all labels of the lists, in alphabetical order,
        which is the order of the published label maps. A clip's group is its YouTube id.

    Raises:
        InputError: a folder or list is missing, a line malformed, a clip listed twice, or not one
            listed clip is there.
    """
    del split
    index = VideoIndex(videos)
    files = _ClipFiles(index)
    rows, notes = read_kinetics_lists(videos, splits, name)
    classes = tuple(sorted({row.label for row in rows}))
    labels = {label: number for number, label in enumerate(classes)}
    clips: list[SourceClip] = []
    missing: dict[str, str] = {}
    for row in rows:
        clip_id = f"{row.label}/{row.file_stem}"
        video = files.find(row)
        if video is None:
            missing[clip_id] = row.split
            continue
        clips.append(
            SourceClip(
                clip_id=clip_id,
                path=video,
                label=labels[row.label],
                label_name=row.label,
                split=row.split,
                group=row.youtube_id,
            )
        )
    if not clips:
        raise InputError(
            f"No listed clip is there. Received: {videos} and {len(rows)} listed clips, the first "
            f"being {rows[0].file_stem}.mp4. Check the folder, and that `dataset` is {name}."
        )
    if missing:
        listed = collections.Counter(row.split for row in rows)
        gone = collections.Counter(missing.values())
        parts = [f"{name} {gone[name]} of {listed[name]}" for name in SPLITS if listed[name]]
        notes.append(
            f"{len(missing)} of {len(rows)} listed clips are not there ({', '.join(parts)}): "
            "state this number next to any accuracy."
        )
    notes += unlisted_note(files.unlisted(rows), index.folder)
    return Catalog(name, classes, tuple(clips), missing, tuple(notes), index.left_out)


class _ClipFiles:
    """The files of a folder by the clip that their names state."""

    def __init__(self, index: VideoIndex) -> None:
        self._index = index
        #: (YouTube id, start, end), or the name without extensions -> files.
        self._by_clip: dict[object, list[pathlib.PurePath]] = collections.defaultdict(list)
        for file in index.files:
            self._by_clip[video_stem(file.name)].append(file)
            clip = parse_stem(file.name)
            if clip is not None:
                self._by_clip[clip].append(file)

    def find(self, row: ListedClip) -> str | None:
        """Path of a listed clip, or None."""
        label = label_key(row.label)

        def preference(file: pathlib.PurePath) -> tuple[object, ...]:
            folders = file.parts[:-1]
            return (
                not any(folder.startswith(_REPLACEMENT) for folder in folders),
                # In the class's folder if it is there: some ids are listed under two labels.
                not folders or label_key(folders[-1]) != label,
                bool(folders),
                row.split not in {SPLIT_NAMES.get(folder.lower()) for folder in folders},
                file.suffix != ".mp4",
                file,
            )

        for key in _keys(row):
            if key in self._by_clip:
                return self._index.path_of(min(self._by_clip[key], key=preference))
        return None

    def unlisted(self, rows: list[ListedClip]) -> list[pathlib.PurePath]:
        """The files that are no clip of any list."""
        listed = {key for row in rows for key in _keys(row)}
        return [
            file
            for file in self._index.files
            if not {video_stem(file.name), parse_stem(file.name)} & listed
        ]


def _keys(row: ListedClip) -> tuple[object, object]:
    return (row.youtube_id, row.start, row.end), row.youtube_id
