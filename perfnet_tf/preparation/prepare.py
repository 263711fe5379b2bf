"""`prepare`: a dataset's videos to records, as `perfnet prepare` does it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

from perfnet_tf import storage
from perfnet_tf.classes import sided_classes
from perfnet_tf.datasets.catalog import Catalog, describe_catalog, load_catalog
from perfnet_tf.datasets.class_names import name_classes
from perfnet_tf.datasets.official_splits import Membership, load_all_splits, write_official_splits
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.bucket_videos import named_locally
from perfnet_tf.preparation.build import Preparation, build_records
from perfnet_tf.preparation.config import CLIP_TIME_LIMIT, PrepareConfig
from perfnet_tf.preparation.given_keypoints import GivenKeypoints
from perfnet_tf.preparation.runners import (
    bucket_options,
    check_beam,
    resolve_options,
    runner_name,
    runner_options,
)

StrPath = str | os.PathLike[str]


def prepare(
    videos: StrPath,
    output: StrPath,
    *,
    dataset: str = "folder",
    lists: StrPath | None = None,
    official_split: int | str = 1,
    classes: StrPath | None = None,
    label_separator: str | None = None,
    fps: float | None = PrepareConfig.fps,
    fps_of_frames: float | None = None,
    short_side: int = PrepareConfig.short_side,
    pose: str = PrepareConfig.pose,
    pose_weights: StrPath | None = None,
    keypoints: StrPath | None = None,
    fps_of_keypoints: float | None = None,
    pose_every: int = PrepareConfig.pose_every,
    max_people: int = PrepareConfig.max_people,
    flow: str = PrepareConfig.flow,
    flow_bound: float = PrepareConfig.flow_bound,
    flow_path: StrPath | None = None,
    flow_bound_of_files: float = PrepareConfig.flow_bound_of_files,
    flow_zero: float = PrepareConfig.flow_zero,
    max_seconds: float = PrepareConfig.max_seconds,
    clips_per_shard: int = PrepareConfig.clips_per_shard,
    square_pixels: bool = PrepareConfig.square_pixels,
    sources: Sequence[str] = (),
    workers: int | None = None,
    runner: str | None = None,
    dask_address: str | None = None,
    beam_options: Sequence[str] = (),
    clip_time_limit: float | None = CLIP_TIME_LIMIT,
    show_progress: bool = False,
) -> Preparation:
    """Turns a dataset's videos into records with RGB, pose and optical flow.

    Call it again with the same arguments to resume an interrupted preparation.

    Args:
        videos: folder or bucket (`gs://bucket/videos`) of the videos; `synthetic` generates them
            in a folder that does not exist.
        output: folder or bucket to fill; new, empty, or an unfinished preparation with the same
            arguments.
        dataset: one of `datasets.catalog.DATASETS`; `folder` has one folder per class.
        lists: folder of the official split lists, or the lists of `list`; None looks in `videos`.
        official_split: number of the official split; `all` stores the clips of all splits of
            UCF-101 or HMDB-51 once, and writes `output`/split1, split2 and split3.
        classes: file of class names in label order, for lists that number them
            (`datasets.class_names`); None keeps the dataset's own names or numbers.
        label_separator: between several labels of a clip in the lists of `list`, such as ";"; None:
            a clip has one. Charades has several without it.
        fps, fps_of_frames, short_side, pose, pose_weights, keypoints, fps_of_keypoints, pose_every,
            max_people, flow, flow_bound, flow_bound_of_files, flow_zero, max_seconds,
            clips_per_shard, square_pixels, sources: as in `PrepareConfig`.
        flow_path: folder of the flow for `flow="folder"`; None takes `videos`.
        workers, clip_time_limit: as in `build_records`.
        runner: work on a cluster by this runner of Apache Beam, such as `dask`, `DataflowRunner`,
            `FlinkRunner` or the full name of a class (`preparation.runners`).
        dask_address: of the scheduler, such as `tcp://HOST:8786`, for `runner="dask"`; None starts
            Dask's workers on this machine.
        beam_options: further options of Apache Beam, such as `--flink_master=HOST:8081`.
        show_progress: print the number of classes and the first names, then finished clips, rate
            and ETA, on standard error.

    Returns:
        What was made; `info` is the prepared dataset.

    Raises:
        InputError: arguments, lists or videos that break a rule.
        PreparationError: no clip gave a record, or the system failed.
    """
    beam_options = runner_options(runner, dask_address, beam_options)
    if runner_name(beam_options) is not None:
        resolve_options(beam_options)
    _check_buckets(output, official_split, flow_path if flow_path or flow != "folder" else videos)
    if any(map(storage.is_bucket, (videos, lists, classes, keypoints, pose_weights))):
        check_beam("Buckets")
        storage.set_options(bucket_options(beam_options))
    config = PrepareConfig(
        name=dataset,
        fps=fps,
        fps_of_frames=fps_of_frames,
        short_side=short_side,
        pose=pose,
        pose_weights=None if pose_weights is None else os.fspath(pose_weights),
        keypoints=None if keypoints is None else os.fspath(keypoints),
        fps_of_keypoints=fps_of_keypoints,
        pose_every=pose_every,
        max_people=max_people,
        flow=flow,
        flow_bound=flow_bound,
        flow_path=_flow_path(flow, flow_path, videos),
        flow_bound_of_files=flow_bound_of_files,
        flow_zero=flow_zero,
        max_seconds=max_seconds,
        clips_per_shard=clips_per_shard,
        square_pixels=square_pixels,
        sources=tuple(sources),
    )
    with named_locally() as local:
        catalog, memberships = _read_lists(
            dataset,
            pathlib.Path(local.path(videos)),
            None if lists is None else local.path(lists, with_content=True),
            official_split,
            label_separator,
            show_progress=show_progress,
        )
        config = dataclasses.replace(config, label_kind=catalog.label_kind)
        if classes is not None:
            catalog = name_classes(catalog, local.path(classes, with_content=True))
        _check_frame_rate(catalog, fps_of_frames)
        if keypoints is not None:
            place = os.fspath(local.path(keypoints, with_content=True))
            GivenKeypoints(config.pose, place, max_people).check(catalog.clips)
        catalog = local.catalog(catalog)
    if show_progress:
        for line in describe_catalog(catalog):
            print(line, file=sys.stderr, flush=True)
    result = build_records(
        catalog.clips,
        output,
        config,
        catalog.classes,
        workers=workers,
        missing=catalog.missing,
        beam_options=beam_options,
        clip_time_limit=clip_time_limit,
        show_progress=show_progress,
    )
    return dataclasses.replace(
        result,
        notes=(*catalog.notes, *_note_sides(catalog), *result.notes),
        official_splits=write_official_splits(pathlib.Path(output), memberships)
        if memberships
        else {},
    )


def _check_buckets(output: StrPath, official_split: int | str, flow_path: StrPath | None) -> None:
    """Raises `InputError` of what buckets cannot do."""
    if storage.is_bucket(output) and official_split == "all":
        raise InputError(
            "`official_split=all` needs an `output` in a folder. Received: "
            f"{output}. Prepare each split by itself, or into a folder."
        )
    if storage.is_bucket(flow_path):
        raise InputError(f"`flow_path` must be a folder. Received: {flow_path}. Copy it first.")


def _note_sides(catalog: Catalog) -> tuple[str, ...]:
    sided = sided_classes(catalog.classes)
    if not sided:
        return ()
    more = f" and {len(sided) - 1} more" if len(sided) > 1 else ""
    return (
        f"Classes say left or right: {sided[0]}{more}. Training mirrors half of the clips unless "
        "it is turned off (--nomirror).",
    )


def _flow_path(flow: str, flow_path: StrPath | None, videos: StrPath) -> str | None:
    if flow == "folder" and flow_path is None:
        flow_path = videos
    # Absolute: workers may be in another folder.
    return None if flow_path is None else os.path.abspath(flow_path)


def _check_frame_rate(catalog: Catalog, fps_of_frames: float | None) -> None:
    """Raises `InputError` unless there is a rate for folders of pictures, and for them only."""
    first = catalog.clips[0].path
    if os.path.isdir(first) and fps_of_frames is None:
        raise InputError(
            "Clips that are folders of pictures need their frame rate. Received: "
            f"{first}, and others like it. Give `fps_of_frames`, such as 25."
        )
    if fps_of_frames is not None and not os.path.isdir(first):
        raise InputError(
            "`fps_of_frames` is for folders of pictures. Received: videos, the first being "
            f"{first}. Leave it out, or give the folder of the pictures as `videos`."
        )


def _read_lists(
    dataset: str,
    videos: pathlib.Path,
    lists: StrPath | None,
    official_split: int | str,
    label_separator: str | None,
    *,
    show_progress: bool,
) -> tuple[Catalog, Mapping[int, Membership]]:
    """The clips to prepare, and what each official split has of them if all are wanted."""
    if official_split != "all" and not str(official_split).isdecimal():
        raise InputError(f"`official_split` is a number, or all. Received: {official_split!r}.")
    if dataset == "synthetic" and not videos.exists():
        from tqdm import tqdm

        from perfnet_tf.synthetic.dataset import generate_synthetic_dataset

        generate_synthetic_dataset(
            videos,
            progress=lambda clips: tqdm(
                clips, desc="generate", unit="video", disable=not show_progress
            ),
        )
    if official_split == "all":
        every = load_all_splits(dataset, videos=videos, splits=lists)
        return every.catalog, every.memberships
    catalog = load_catalog(
        dataset,
        videos=videos,
        splits=lists,
        split=int(official_split),
        label_separator=label_separator,
    )
    return catalog, {}
