"""Videos to a prepared dataset, resumable at any point.

    UCF-101/Lunges/v_Lunges_g01_c01.avi ...        one video a clip
      -> decode, resize, pose, flow, encode        workers, each in its own process
      -> parts/clips/3f/3f...tfrecord              one file a finished clip (`preparation.staging`)
      -> train-00000-of-00004.tfrecord ...         parts joined (`preparation.shards`)

`build_records` runs the first arrow on this machine (`preparation.worker_pool`), or both on a
cluster (`preparation.beam_pipeline`) if Apache Beam's options name a runner; videos and output are
then in buckets (`storage`), or in folders that every worker sees under the same path.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tqdm import tqdm

from perfnet_tf import storage
from perfnet_tf.classes import check_class_names
from perfnet_tf.errors import InputError
from perfnet_tf.label_kinds import SINGLE_LABEL
from perfnet_tf.preparation.config import CLIP_TIME_LIMIT, PrepareConfig
from perfnet_tf.preparation.open_staging import open_staging
from perfnet_tf.preparation.outcomes import ClipOutcome, PreparationError
from perfnet_tf.preparation.runners import bucket_options, check_beam, resolve_options, runner_name
from perfnet_tf.preparation.shards import (
    WriteShards,
    lost_clips,
    preparation_identity,
    write_dataset,
    write_failures,
)
from perfnet_tf.preparation.staged_weights import stage_weights
from perfnet_tf.preparation.staging import (
    Staging,
    check_identity,
    pending_clips,
    unwritable,
)
from perfnet_tf.preparation.worker_pool import make_records
from perfnet_tf.records.failure_kinds import group_failures
from perfnet_tf.records.folder import parse_dataset_info
from perfnet_tf.records.schema import (
    DATASET_FILE,
    FAILURES_FILE,
    ClipFailure,
    DatasetInfo,
    SourceClip,
)
from perfnet_tf.video.versions import join_versions

__all__ = ["PreparationError", "Preparation", "PrepareConfig", "build_records"]


@dataclass(frozen=True)
class Preparation:
    """What `build_records` did.

    Attributes:
        info: the prepared dataset.
        num_made: clips made by this call.
        seconds: how long it took.
        num_bytes: size of the dataset on disk.
        already_complete: nothing was to be done.
        notes: what a user should know before trusting numbers, a sentence each.
        failures: the lines of `failures.jsonl`; None where nothing was to be done.
        official_splits: number of the official split -> its subset, if all were prepared.
    """

    info: DatasetInfo
    num_made: int
    seconds: float
    num_bytes: int
    already_complete: bool = False
    notes: tuple[str, ...] = ()
    failures: tuple[ClipFailure, ...] | None = None
    official_splits: Mapping[int, DatasetInfo] = field(default_factory=dict)


def build_records(
    clips: Sequence[SourceClip],
    output: str | os.PathLike[str],
    config: PrepareConfig,
    classes: Sequence[str],
    *,
    workers: int | None = None,
    missing: Mapping[str, str] | None = None,
    beam_options: Sequence[str] = (),
    clip_time_limit: float | None = CLIP_TIME_LIMIT,
    show_progress: bool = False,
) -> Preparation:
    """Makes a prepared dataset of videos (`records.schema` says what is in it).

    Killed at any point and called again with the same arguments, it resumes: finished clips are
    not made again, clips that failed get another try. Once the dataset is complete a call returns
    at once; to try failed clips again then, prepare into another folder.

    Args:
        clips: the videos; every one of them becomes one record or one line of `failures.jsonl`.
        output: folder or bucket (`gs://bucket/data`) to fill; new, empty, or an unfinished
            preparation with the same arguments.
        config: the settings.
        classes: class names in label order.
        workers: processes that work side by side, each with its share of the cores; 0 works in
            this process, for debugging; None takes one per core.
        missing: id -> split of listed clips that have no file, for `failures.jsonl`.
        beam_options: Apache Beam's options, such as `--runner=FlinkRunner`, to work on a cluster.
            Without a runner among them they are for buckets (`--s3_endpoint_url`).
        clip_time_limit: seconds; a clip that takes longer is a failure, and its worker is replaced.
            None sets no limit, and there is none with `workers=0`.
        show_progress: show finished clips, rate and ETA on standard error.

    Raises:
        InputError: arguments that break a rule, an output that holds something else or is in use.
        PreparationError: no clip gave a record, the workers failed, or the output cannot be written
            to any more, such as a full disk: called again, it resumes.
    """
    started = time.monotonic()
    _check(clips, classes, workers, clip_time_limit, config.label_kind)
    make, write_shards = _choose_machines(clips, output, beam_options)
    staging = open_staging(output)
    identity = preparation_identity(clips, config, classes)
    with staging.exclusive(), _explaining_unwritable_output(staging):
        complete = staging.path(DATASET_FILE)
        if storage.exists(complete):
            info = parse_dataset_info(storage.read_bytes(complete), complete)
            check_identity(staging.address, dict(info.parameters), identity)
            staging.remove()
            return Preparation(info, 0, 0.0, _size(staging, info), already_complete=True)
        staging.begin(identity)
        if staging.finished:
            pending = lost_clips(clips, staging, config)
            if pending:
                staging.reopen()
        else:
            pending = pending_clips(clips, staging)
        if pending:
            with _progress(staging, len(clips), len(pending), show=show_progress):
                make(
                    pending,
                    staging,
                    stage_weights(config, staging) if write_shards else config,
                    workers=workers,
                    time_limit=clip_time_limit,
                )
        outcomes = staging.outcomes()
        _check_finished(clips, outcomes)
        failures = _failures(clips, outcomes, missing or {})
        if not any(outcomes[clip.key].ok for clip in clips):
            write_failures(staging, failures)
            kinds = group_failures(failures)
            raise PreparationError(
                f"None of the {len(clips)} clips gave a record. By cause: "
                f"{' '.join(map(str, kinds[:3]))} All are in {staging.path(FAILURES_FILE)}."
            )
        notes = _version_notes(staging) + _score_notes([outcomes[clip.key] for clip in clips])
        info = write_dataset(clips, outcomes, staging, config, classes, failures, write_shards)
        num_bytes = _size(staging, info)
    seconds = time.monotonic() - started
    return Preparation(
        info, len(pending), seconds, num_bytes, notes=notes, failures=tuple(failures)
    )


def _choose_machines(
    clips: Sequence[SourceClip], output: str | os.PathLike[str], beam_options: Sequence[str]
) -> tuple[Callable[..., None], WriteShards | None]:
    """What makes the records, and what writes the shards (None: this process).

    Raises:
        InputError: options without a runner where nothing is in a bucket, or an unknown runner.
    """
    in_buckets = storage.is_bucket(output) or any(storage.is_bucket(clip.path) for clip in clips)
    if in_buckets:
        check_beam("Buckets")
        storage.set_options(bucket_options(beam_options))
    if not beam_options or (in_buckets and runner_name(beam_options) is None):
        return make_records, None
    resolve_options(beam_options)
    from perfnet_tf.preparation import beam_pipeline

    if not storage.is_bucket(output):
        return functools.partial(beam_pipeline.run_pipeline, beam_options=beam_options), None
    staging = open_staging(output)
    return (
        functools.partial(beam_pipeline.run_pipeline, beam_options=beam_options),
        lambda shards: beam_pipeline.write_shards(shards, staging, beam_options),
    )


def _version_notes(staging: Staging) -> tuple[str, ...]:
    """A sentence if other libraries read some of the videos."""
    changed = {
        name: versions
        for name, versions in join_versions(staging.versions()).items()
        if name in ("reader", "av", "libavcodec") and ", " in versions
    }
    if not changed:
        return ()
    shown = "; ".join(f"{name} {versions}" for name, versions in changed.items())
    return (
        f"Different versions read the videos, because the preparation was resumed: {shown}. "
        "Prepare into an empty folder to have all clips read by one.",
    )


def _score_notes(outcomes: Sequence[ClipOutcome]) -> tuple[str, ...]:
    """A sentence if keypoints came with scores outside [0, 1]."""
    number = sum(outcome.scores_clipped for outcome in outcomes)
    if not number:
        return ()
    return (
        f"The keypoints of {number} of {len(outcomes)} clips had scores outside [0, 1], which were "
        "clipped to it.",
    )


@contextlib.contextmanager
def _explaining_unwritable_output(staging: Staging) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PreparationError(unwritable(staging.address, error)) from error


def _check(
    clips: Sequence[SourceClip],
    classes: Sequence[str],
    workers: int | None,
    clip_time_limit: float | None,
    label_kind: str,
) -> None:
    check_class_names(classes)
    if not clips:
        raise InputError("There must be at least one clip to prepare. Received: none.")
    if workers is not None and workers < 0:
        raise InputError(f"workers must be 0 or greater. Received: {workers}.")
    if clip_time_limit is not None and not clip_time_limit > 0:
        raise InputError(f"clip_time_limit must be above 0. Received: {clip_time_limit}.")
    seen: dict[str, SourceClip] = {}
    for clip in clips:
        if clip.clip_id in seen:
            raise InputError(
                f"Clip ids must be unique. Received: {clip.clip_id} twice, for "
                f"{seen[clip.clip_id].path} and {clip.path}."
            )
        seen[clip.clip_id] = clip
        for label, name in clip.labels.items():
            if not 0 <= label < len(classes) or classes[label] != name:
                raise InputError(
                    f"A clip's label must be the index of its class. Received: {clip.clip_id} with "
                    f"{label} for {name}, of {len(classes)} classes."
                )
        if clip.other_labels and label_kind == SINGLE_LABEL:
            raise InputError(
                f"A clip has one label. Received: {clip.clip_id} with {len(clip.labels)}. "
                "Give `label_kind=multi`."
            )
        if sorted(clip.labels) != [*clip.labels]:
            raise InputError(
                "`label` is the lowest of a clip's labels, and `other_labels` are in order. "
                f"Received: {clip.clip_id} with {clip.label} and {clip.other_labels}."
            )


def _check_finished(clips: Sequence[SourceClip], outcomes: Mapping[str, ClipOutcome]) -> None:
    lost = [clip.clip_id for clip in clips if clip.key not in outcomes]
    if lost:
        raise PreparationError(
            f"{len(lost)} clips were not made, {lost[0]} among them. Run the command again: it "
            "resumes where it stopped."
        )


def _failures(
    clips: Sequence[SourceClip], outcomes: Mapping[str, ClipOutcome], missing: Mapping[str, str]
) -> list[ClipFailure]:
    failures = []
    for clip in clips:
        outcome = outcomes[clip.key]
        if outcome.cause is not None:
            failures.append(
                ClipFailure(clip.clip_id, clip.path, clip.split, outcome.cause, kept=outcome.ok)
            )
    failures += [
        ClipFailure(clip_id, "", split, "Listed, but there is no such file.")
        for clip_id, split in missing.items()
    ]
    return failures


@contextlib.contextmanager
def _progress(staging: Staging, total: int, pending: int, *, show: bool) -> Iterator[None]:
    """A line on standard error, fed from the journals: it works with every Beam runner."""
    if not show:
        yield
        return
    stop = threading.Event()
    line = "{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} clips, {rate_noinv_fmt}, {remaining} left"
    with tqdm(
        total=total, initial=total - pending, unit=" clips", smoothing=0.05, bar_format=line
    ) as bar:
        known = staging.count_outcomes()
        # Each look at a bucket is a listing.
        interval = 5.0 if storage.is_bucket(staging.address) else 0.5

        def update() -> None:
            while True:
                stopping = stop.wait(interval)
                with contextlib.suppress(OSError):
                    made = staging.count_outcomes() - known
                    bar.update(min(total, bar.initial + made) - bar.n)
                if stopping:
                    return

        thread = threading.Thread(target=update, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _size(staging: Staging, info: DatasetInfo) -> int:
    shards = [name for split in info.splits.values() for name in split["shards"]]
    return storage.total_size([staging.path(name) for name in shards])
