"""Workers that a process keeps between the bundles of a Beam runner.

A bundle may be a single clip (Dask), and a worker takes seconds to start: TensorFlow is imported
and the pose network loaded. Workers are therefore lent to a bundle and taken back after it. Those
that nothing needs for a minute are ended.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.outcomes import ClipOutcome
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.preparation.worker_process import WorkerProcess
from perfnet_tf.records.schema import SourceClip

#: Seconds that a worker waits for the next bundle.
_IDLE_SECONDS = 60.0


class RecordMaker:
    """A worker process and its journal."""

    def __init__(
        self,
        staging: Staging,
        config: PrepareConfig,
        num_threads: int,
        time_limit: float | None = None,
    ) -> None:
        """Starts the worker; arguments as of `WorkerProcess`."""
        self._staging = staging
        self._worker = WorkerProcess(staging, config, num_threads, time_limit=time_limit)
        self._journal = staging.journal()

    def __call__(self, clip: SourceClip) -> ClipOutcome | None:
        """Makes one record, unless it is there: runners repeat bundles whose worker was lost.

        Returns:
            The outcome, or None once `close` was called.

        Raises:
            WorkerError: the output cannot be written to.
        """
        outcome = self._staging.find_done(clip)
        if outcome is None:
            outcome = self._worker(clip)
            if outcome is not None:
                self._journal.write(outcome)
        return outcome

    def close(self) -> None:
        """Ends the worker."""
        self._worker.close()


class SharedWorkers:
    """Lends workers to the threads of this process."""

    def __init__(self, idle_seconds: float = _IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._idle: dict[str, list[tuple[float, RecordMaker]]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lend(self, key: str, start: Callable[[], RecordMaker]) -> Iterator[RecordMaker]:
        """A worker for the block; one that raises an error is ended.

        Args:
            key: says what the worker was started with.
            start: starts one, where none with this key is idle.
        """
        with self._lock:
            idle = self._idle.get(key)
            maker = idle.pop()[1] if idle else None
        maker = maker or start()
        try:
            yield maker
        except BaseException:
            maker.close()
            raise
        with self._lock:
            self._idle.setdefault(key, []).append((time.monotonic(), maker))
        timer = threading.Timer(self._idle_seconds, self.close_idle, [self._idle_seconds])
        timer.daemon = True
        timer.start()

    def close_idle(self, seconds: float = 0.0) -> None:
        """Ends the workers that have been idle for so long."""
        latest = time.monotonic() - seconds
        with self._lock:
            ended = [
                maker for idle in self._idle.values() for since, maker in idle if since <= latest
            ]
            self._idle = {
                key: kept
                for key, idle in self._idle.items()
                if (kept := [item for item in idle if item[0] > latest])
            }
        for maker in ended:
            maker.close()


#: Those of this process.
SHARED_WORKERS = SharedWorkers()
