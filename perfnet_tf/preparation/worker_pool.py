"""Worker processes of this machine, each fed by a thread that waits for its answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.preparation.worker import LocalWorker
from perfnet_tf.preparation.worker_process import WorkerProcess
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.threads import available_cores


def make_records(
    pending: Sequence[SourceClip],
    staging: Staging,
    config: PrepareConfig,
    *,
    workers: int | None = None,
    time_limit: float | None = None,
) -> None:
    """Makes the records of `pending`, leaving parts and journals in the staging folder.

    Args:
        pending: at least one clip.
        staging: where they go.
        config: the settings.
        workers, time_limit: `workers` and `clip_time_limit` of `preparation.build.build_records`.

    Raises:
        InputError: the settings cannot be worked with, such as weights that do not load.
        PreparationError: a worker did not start, or the output cannot be written to.
    """
    cores = available_cores()
    num_workers = min(cores if workers is None else workers, len(pending))
    if num_workers == 0:
        worker, journal = LocalWorker(staging, config), staging.journal()
        for clip in pending:
            journal.write(worker(clip))
        return
    pool = _WorkerPool(pending, staging, config, max(1, cores // num_workers), time_limit)
    pool.run(num_workers)


class _WorkerPool:
    """Deals clips out to worker processes; the first error ends them all."""

    def __init__(
        self,
        pending: Sequence[SourceClip],
        staging: Staging,
        config: PrepareConfig,
        num_threads: int,
        time_limit: float | None,
    ) -> None:
        self._clips = iter(pending)
        self._staging = staging
        self._config = config
        self._num_threads = num_threads
        self._time_limit = time_limit
        self._open: set[WorkerProcess] = set()
        self._cancelled = False
        self._lock = threading.Lock()

    def run(self, num_workers: int) -> None:
        """Works until no clip is left, or until the first error, which it raises."""
        with ThreadPoolExecutor(num_workers, thread_name_prefix="prepare") as executor:
            futures = [executor.submit(self._work) for _ in range(num_workers)]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:  # Control-C is one: clips in the making are given up.
                self._cancel()
                raise

    def _work(self) -> None:
        """Feeds one worker process."""
        worker = WorkerProcess(
            self._staging, self._config, self._num_threads, time_limit=self._time_limit
        )
        try:
            with self._lock:
                self._open.add(worker)
            journal = self._staging.journal()
            while (clip := self._next()) is not None:
                outcome = worker(clip)
                if outcome is not None:
                    journal.write(outcome)
        finally:
            worker.close()
            with self._lock:
                self._open.discard(worker)

    def _next(self) -> SourceClip | None:
        """The next clip; None when none is left, or the run was cancelled."""
        with self._lock:
            return None if self._cancelled else next(self._clips, None)

    def _cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            workers = list(self._open)
        for worker in workers:
            worker.close()
