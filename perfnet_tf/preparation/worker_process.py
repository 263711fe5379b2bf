"""Workers in separate processes: a decoder that crashes or hangs costs one clip, not the run.

`WorkerProcess` starts `preparation.worker.serve` in another process and talks to it in
lines of JSON: the settings once, then a clip a line, an outcome a line. That process ends with the
one that started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

import perfnet_tf
from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.outcomes import ClipOutcome
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.preparation.worker import WorkerError
from perfnet_tf.records.schema import SourceClip

#: A crash may be another's doing, such as too little memory for a moment.
_TRIES = 2


#: Not `python -m`, which looks for modules in the current folder first: it may hold somebody else's
#: videos, and a cv2.py among them.
_START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "
    "from perfnet_tf.preparation.worker import serve; serve()"
)

#: Seconds for a process to end after a signal. One that waits for a dead network disk never does.
_PATIENCE = 10


class WorkerProcess:
    """Makes records in a child process, which is started again when it dies."""

    def __init__(
        self,
        staging: Staging,
        config: PrepareConfig,
        num_threads: int,
        *,
        time_limit: float | None = None,
    ) -> None:
        """Starts the child.

        Args:
            staging: where the parts go.
            config: the settings.
            num_threads: of the child.
            time_limit: seconds for a clip; None sets no limit.

        Raises:
            InputError: the settings cannot be worked with, such as weights that do not load.
            WorkerError: the process did not come up.
        """
        self._staging = staging
        options = storage.current_options()
        self._scratch = None if options is None else tempfile.TemporaryDirectory(prefix="perfnet-")
        self._setup = {
            "output": staging.address,
            "bucket_options": options,
            "scratch": self._scratch and self._scratch.name,
            "config": dataclasses.asdict(config),
            "num_threads": num_threads,
            "parent": os.getpid(),
        }
        self._time_limit = time_limit
        logs = staging.logs if self._scratch is None else pathlib.Path(self._scratch.name)
        self._log = logs / f"worker-{os.getpid()}-{threading.get_ident()}.log"
        self._closed = False
        self._child: subprocess.Popen[bytes] | None = None
        self._start()

    def __call__(self, clip: SourceClip) -> ClipOutcome | None:
        """Makes one record; a child that dies over it twice, or hangs once, makes it a failure.

        Returns:
            The outcome, or None once `close` was called: nothing is known of the clip then.

        Raises:
            WorkerError: the output cannot be written to.
        """
        status = 0
        for _ in range(_TRIES):
            if self._child is None and not self._closed:
                self._start()
            try:
                answer = self._make(clip)
            except TimeoutError:
                self._kill()
                if self._closed:
                    return None
                cause = (
                    f"It took longer than clip_time_limit={self._time_limit:g} s, and its process "
                    "was killed. A higher limit or a lower max_seconds may help."
                )
                # Not tried again: it would hang again.
                return ClipOutcome(clip.key, cause=cause)
            if self._closed:
                return None
            if answer is not None:
                if "error" in answer:
                    raise WorkerError(answer["error"])
                return ClipOutcome(**answer)
            status = self._reap()
        return ClipOutcome(clip.key, cause=_describe_death(status))

    def close(self) -> None:
        """Ends the child; a clip in the making, which another thread waits for, is given up."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=_PATIENCE)
        if self._scratch is not None:
            with contextlib.suppress(OSError):
                self._scratch.cleanup()

    def _start(self) -> None:
        package = str(pathlib.Path(perfnet_tf.__file__).parents[1])
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        with open(self._log, "ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2"},
            )
        answer = self._ask(self._setup)
        if answer is None or "error" in answer:
            status = self._reap()
            if answer is not None:
                raise InputError(answer["error"])
            raise WorkerError(
                f"A worker did not start: {_describe_death(status)} {self._log_end()} "
                "Rerun the command to resume."
            )

    def _make(self, clip: SourceClip) -> dict[str, Any] | None:
        return None if self._closed else self._ask(dataclasses.asdict(clip), self._time_limit)

    def _ask(
        self, message: Mapping[str, Any], time_limit: float | None = None
    ) -> dict[str, Any] | None:
        """The child's answer; None when it died.

        Raises:
            TimeoutError: no answer within `time_limit` seconds.
        """
        assert self._child is not None and self._child.stdin and self._child.stdout
        deadline = None if time_limit is None else time.monotonic() + time_limit
        try:
            self._child.stdin.write(json.dumps(message).encode() + b"\n")
            self._child.stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            return None
        # By hand and not by `readline`: a thread that waits there cannot be told to stop, and a
        # process that waits for a dead network disk cannot be killed.
        descriptor = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not poll.poll(None if rest is None else 1000 * rest):
                raise TimeoutError
            block = os.read(descriptor, 65536)
            if not block:
                return None
            line += block
        result: dict[str, Any] | None = json.loads(line)
        return result

    def _reap(self) -> int:
        """The exit status of a child that is ending by itself."""
        assert self._child is not None
        try:  # A kill now could hide what it died of.
            status = self._child.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            return self._kill()
        self._forget()
        return status

    def _kill(self) -> int:
        """Ends a child that hangs; its exit status."""
        assert self._child is not None
        self._child.kill()
        try:
            status = self._child.wait(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL  # It ends when the disk that it waits for answers.
        self._forget()
        return status

    def _forget(self) -> None:
        assert self._child is not None
        for stream in (self._child.stdin, self._child.stdout):
            try:
                if stream is not None:
                    stream.close()
            except BrokenPipeError:
                pass
        self._child = None

    def _log_end(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return " ".join(line.strip() for line in lines[-4:] if line.strip())


def _describe_death(status: int) -> str:
    if status >= 0:
        return f"The process that decoded it ended with status {status}."
    name = signal.Signals(-status).name
    hint = " Too little memory? Fewer `workers` or a lower `max_seconds` need less."
    return f"The process that decoded it was killed by {name}.{hint if name == 'SIGKILL' else ''}"
