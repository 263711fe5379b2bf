"""Videos to a prepared dataset: an Apache Beam pipeline over clips, resumable at any point.

    UCF-101/Lunges/v_Lunges_g01_c01.avi ...        one video a clip
      -> decode, resize, pose, flow, encode        a Beam `DoFn`, each worker in its own process
      -> parts/clips/3f/3f...tfrecord              one file a finished clip (`records.staging`)
      -> train-00000-of-00004.tfrecord ...         parts joined (`records.shards`)

`build_records` runs the first arrow on this machine unless Beam options name another runner; the
videos and the output must then be on a file system that every worker sees under the same path.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from perfnet_tf.errors import InputError
from perfnet_tf.records.prepare_config import PrepareConfig
from perfnet_tf.records.schema import (
    DATASET_FILE,
    FAILURES_FILE,
    ClipFailure,
    DatasetInfo,
    SourceClip,
    read_dataset_info,
)
from perfnet_tf.records.shards import preparation_identity, write_dataset, write_failures
from perfnet_tf.records.staging import (
    ClipOutcome,
    Journal,
    Staging,
    check_identity,
    clip_key,
    exclusive,
    pending_clips,
)
from perfnet_tf.records.worker import LocalWorker, WorkerError, WorkerProcess

with contextlib.ExitStack() as _quiet:
    # Beam warns of cloud clients that are not installed, which nobody here asked for.
    _quiet.callback(logging.disable, logging.root.manager.disable)
    logging.disable(logging.WARNING)
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class PreparationError(RuntimeError):
    """The preparation failed, though what the user passed was in order; one line."""


@dataclass(frozen=True)
class Preparation:
    """What `build_records` did.

    Attributes:
        info: the prepared dataset.
        num_made: clips made by this call.
        seconds: how long it took.
        num_bytes: size of the dataset on disk.
        already_complete: nothing was to be done.
    """

    info: DatasetInfo
    num_made: int
    seconds: float
    num_bytes: int
    already_complete: bool = False


def build_records(
    clips: Sequence[SourceClip],
    output: str | os.PathLike[str],
    config: PrepareConfig,
    classes: Sequence[str],
    *,
    workers: int | None = None,
    missing: Sequence[str] = (),
    beam_options: Sequence[str] = (),
    show_progress: bool = False,
) -> Preparation:
    """Makes a prepared dataset of videos (`records.schema` says what is in it).

    Killed at any point and called again with the same arguments, it goes on: finished clips are
    not made again, clips that failed get another try. Once the dataset is complete a call returns
    at once; to try failed clips again then, prepare into another folder.

    Args:
        clips: the videos; every one of them becomes one record or one line of `failures.jsonl`.
        output: folder to make; new, empty, or an unfinished preparation with the same arguments.
        config: the settings.
        classes: class names in label order.
        workers: processes that work side by side, each with its share of the cores; 0 works in
            this process, for debugging; None takes one a core. Counts on this machine only.
        missing: ids of listed clips that have no file, for `failures.jsonl`.
        beam_options: Beam's command-line options, such as `--runner=FlinkRunner`.
        show_progress: show finished clips, rate and ETA on standard error.

    Raises:
        InputError: arguments that break a rule, an output that holds something else or is in use.
        PreparationError: no clip gave a record, or the workers failed.
    """
    started = time.monotonic()
    output = pathlib.Path(output)
    _check(clips, classes, workers)
    identity = preparation_identity(clips, config, classes)
    with exclusive(output):
        staging = Staging(output)
        if (output / DATASET_FILE).exists():
            info = read_dataset_info(output)
            check_identity(output, dict(info.parameters), identity)
            staging.remove()
            return Preparation(info, 0, 0.0, _size(output, info), already_complete=True)
        staging.begin(identity)
        num_made = 0
        if not staging.finished:
            pending, _ = pending_clips(clips, staging)
            num_made = len(pending)
            with _progress(staging, len(clips), len(pending), show=show_progress):
                _run_pipeline(pending, staging, config, workers, beam_options)
        outcomes = staging.outcomes()
        _check_finished(clips, outcomes)
        failures = _failures(clips, outcomes, missing)
        if not any(outcomes[clip_key(clip)].ok for clip in clips):
            write_failures(output, failures)
            raise PreparationError(
                f"None of the {len(clips)} clips gave a record. The first: {failures[0].cause} "
                f"All are in {output / FAILURES_FILE}."
            )
        info = write_dataset(clips, outcomes, staging, config, classes, failures)
    return Preparation(info, num_made, time.monotonic() - started, _size(output, info))


class MakeRecord(beam.DoFn):
    """`SourceClip` to `ClipOutcome`, leaving the record in the staging folder."""

    #: Workers of this process, for `cancel`.
    _open: set[WorkerProcess] = set()
    _cancelled = threading.Event()
    #: Why a worker of this process did not start: Beam would hand it on as text only.
    _refusal: InputError | WorkerError | None = None

    def __init__(self, output: str, config: PrepareConfig, *, num_threads: int, local: bool):
        self._output = output
        self._config = config
        self._num_threads = num_threads
        self._local = local
        self._worker: LocalWorker | WorkerProcess | None = None

    def setup(self) -> None:
        """Opens a journal; the worker starts with the first clip."""
        self._staging = Staging(self._output)
        self._journal = Journal(self._staging)

    def process(self, clip: SourceClip) -> Iterator[ClipOutcome]:
        """Makes one record."""
        if self._cancelled.is_set():
            return
        if self._worker is None:
            try:
                self._worker = self._start()
            except (InputError, WorkerError) as error:
                MakeRecord._refusal = error
                raise
        outcome = self._worker(clip)
        if outcome is not None:
            self._journal.write(outcome)
            yield outcome

    def teardown(self) -> None:
        """Ends the worker."""
        if self._worker is not None:
            self._worker.close()
            if isinstance(self._worker, WorkerProcess):
                self._open.discard(self._worker)

    def _start(self) -> LocalWorker | WorkerProcess:
        if self._local:
            return LocalWorker(self._staging, self._config)
        worker = WorkerProcess(self._staging, self._config, self._num_threads)
        self._open.add(worker)
        return worker

    @classmethod
    def reset(cls) -> None:
        """Forgets an earlier run of this process."""
        cls._cancelled.clear()
        cls._refusal = None

    @classmethod
    def cancel(cls) -> None:
        """Ends every worker of this process; clips in the making are given up."""
        cls._cancelled.set()
        for worker in list(cls._open):
            worker.close()


def _run_pipeline(
    pending: Sequence[SourceClip],
    staging: Staging,
    config: PrepareConfig,
    workers: int | None,
    beam_options: Sequence[str],
) -> None:
    if not pending:
        return
    cores = available_cores()
    num_workers = min(cores if workers is None else workers, len(pending))
    make = MakeRecord(
        str(staging.output.absolute()),
        config,
        num_threads=max(1, cores // max(1, num_workers)),
        local=num_workers == 0,
    )
    if any(option.startswith("--runner") for option in beam_options):
        pipeline = beam.Pipeline(options=PipelineOptions([*beam_options]))
    else:
        # Threads of this process that each wait for a process of their own (`records.worker`):
        # Beam's own multi_processing mode waits for ever for a process that died.
        mode = "multi_threading" if num_workers > 1 else "in_memory"
        options = PipelineOptions(
            [
                *beam_options,
                f"--direct_num_workers={max(1, num_workers)}",
                f"--direct_running_mode={mode}",
            ]
        )
        pipeline = beam.Pipeline(runner=FnApiRunner(), options=options)
    MakeRecord.reset()
    try:
        with _quiet_beam(), pipeline:
            (
                pipeline
                | "Clips" >> beam.Create(pending)
                # Without it one worker would get all clips: Beam fuses steps that it can.
                | "Spread" >> beam.Reshuffle()
                | "MakeRecord" >> beam.ParDo(make)
            )
    except (KeyboardInterrupt, SystemExit):
        MakeRecord.cancel()
        raise
    except Exception as error:
        MakeRecord.cancel()
        refusal = MakeRecord._refusal
        if isinstance(refusal, InputError):
            raise refusal from None
        cause = str(refusal) if refusal else f"The pipeline failed: {_last_line(error)}"
        raise PreparationError(f"{cause} Run the command again to go on.") from error


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(clips: Sequence[SourceClip], classes: Sequence[str], workers: int | None) -> None:
    if not clips:
        raise InputError("There must be at least one clip to prepare. Received: none.")
    if workers is not None and workers < 0:
        raise InputError(f"workers must be 0 or greater. Received: {workers}.")
    seen: dict[str, SourceClip] = {}
    for clip in clips:
        if clip.clip_id in seen:
            raise InputError(
                f"Clip ids must be unique. Received: {clip.clip_id} twice, for "
                f"{seen[clip.clip_id].path} and {clip.path}."
            )
        seen[clip.clip_id] = clip
        if not 0 <= clip.label < len(classes) or classes[clip.label] != clip.label_name:
            raise InputError(
                f"A clip's label must be the index of its class. Received: {clip.clip_id} with "
                f"{clip.label} for {clip.label_name}, of {len(classes)} classes."
            )


def _check_finished(clips: Sequence[SourceClip], outcomes: Mapping[str, ClipOutcome]) -> None:
    lost = [clip.clip_id for clip in clips if clip_key(clip) not in outcomes]
    if lost:
        raise PreparationError(
            f"{len(lost)} clips were not made, {lost[0]} among them. Run the command again: it "
            "goes on where it stopped."
        )


def _failures(
    clips: Sequence[SourceClip], outcomes: Mapping[str, ClipOutcome], missing: Sequence[str]
) -> list[ClipFailure]:
    failures = []
    for clip in clips:
        outcome = outcomes[clip_key(clip)]
        if outcome.cause is not None:
            failures.append(
                ClipFailure(clip.clip_id, clip.path, clip.split, outcome.cause, kept=outcome.ok)
            )
    failures += [
        ClipFailure(clip_id, "", "", "Listed, but there is no such file.") for clip_id in missing
    ]
    return failures


@contextlib.contextmanager
def _progress(staging: Staging, total: int, pending: int, *, show: bool) -> Iterator[None]:
    """A line on standard error, fed from the journals: it works with every Beam runner."""
    if not show:
        yield
        return
    stop = threading.Event()
    with tqdm(total=total, initial=total - pending, unit="clip", smoothing=0.05) as bar:
        known = _count_lines(staging)

        def update() -> None:
            while True:
                stopping = stop.wait(0.5)
                bar.update(min(total, bar.initial + _count_lines(staging) - known) - bar.n)
                if stopping:
                    return

        thread = threading.Thread(target=update, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _count_lines(staging: Staging) -> int:
    return sum(path.read_bytes().count(b"\n") for path in staging.folder.glob("journal-*.jsonl"))


@contextlib.contextmanager
def _quiet_beam() -> Iterator[None]:
    """Keeps Beam's log of its own stages, and its tracebacks of ours, off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[-1] if lines else type(error).__name__}"


def _size(output: pathlib.Path, info: DatasetInfo) -> int:
    return sum(
        (output / name).stat().st_size for split in info.splits.values() for name in split["shards"]
    )
