"""The Apache Beam pipeline that makes records of clips, on this machine or another runner."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence

from perfnet_tf.errors import InputError
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import ClipOutcome, Journal, PreparationError, Staging
from perfnet_tf.preparation.worker import LocalWorker
from perfnet_tf.preparation.worker_process import WorkerProcess
from perfnet_tf.records.schema import SourceClip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Beam's log of its stages, and of cloud clients that are absent, off the terminal."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(previous)


with _quiet():
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner


class MakeRecord(beam.DoFn):
    """`SourceClip` to `ClipOutcome`, leaving the record in the staging folder."""

    #: Workers of this process, for `cancel`.
    _open: set[WorkerProcess] = set()
    _cancelled = threading.Event()
    #: What ended the work in this process: Beam would hand it on as text only.
    _refusal: InputError | PreparationError | None = None

    def __init__(
        self,
        output: str,
        config: PrepareConfig,
        *,
        num_threads: int,
        local: bool,
        time_limit: float | None,
    ):
        self._output = output
        self._config = config
        self._num_threads = num_threads
        self._local = local
        self._time_limit = time_limit
        self._worker: LocalWorker | WorkerProcess | None = None

    def setup(self) -> None:
        """Opens a journal; the worker starts with the first clip."""
        self._staging = Staging(self._output)
        self._journal = Journal(self._staging)

    def process(self, clip: SourceClip) -> Iterator[ClipOutcome]:
        """Makes one record."""
        if self._cancelled.is_set():
            return
        try:
            if self._worker is None:
                self._worker = self._start()
            outcome = self._worker(clip)
            if outcome is not None:
                self._journal.write(outcome)
        except (InputError, PreparationError) as error:
            MakeRecord._refusal = error
            # Clips that other threads wait for are given up: the run is over.
            MakeRecord.cancel()
            raise
        if outcome is not None:
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
        worker = WorkerProcess(
            self._staging, self._config, self._num_threads, time_limit=self._time_limit
        )
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


def run_pipeline(
    pending: Sequence[SourceClip],
    staging: Staging,
    config: PrepareConfig,
    workers: int | None,
    beam_options: Sequence[str],
    time_limit: float | None = None,
) -> None:
    """Makes the records of `pending`, leaving parts and journals in the staging folder.

    Args:
        pending: at least one clip.
        staging: where they go.
        config: the settings.
        workers, beam_options: as in `preparation.build.build_records`.
        time_limit: `clip_time_limit` there.

    Raises:
        InputError: the settings cannot be worked with.
        PreparationError: the pipeline failed.
    """
    cores = available_cores()
    num_workers = min(cores if workers is None else workers, len(pending))
    make = MakeRecord(
        str(staging.output.absolute()),
        config,
        num_threads=max(1, cores // max(1, num_workers)),
        local=num_workers == 0,
        time_limit=time_limit,
    )
    if any(option.startswith("--runner") for option in beam_options):
        pipeline = beam.Pipeline(options=PipelineOptions([*beam_options]))
    else:
        # Threads of this process that each wait for a process of their own
        # (`preparation.worker_process`): one of those that dies costs a clip, and not the run.
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
        with _quiet(), pipeline:
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
        if refusal is not None:
            raise refusal from error
        raise PreparationError(
            f"The pipeline failed: {_last_line(error)} Run the command again to go on."
        ) from error


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[-1] if lines else type(error).__name__}"
