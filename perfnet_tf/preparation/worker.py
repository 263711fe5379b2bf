"""Makes records of clips: in this process, or in one that `preparation.worker_process` started."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from perfnet_tf.errors import InputError, first_line
from perfnet_tf.files import atomic_path, file_digest
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import (
    ClipOutcome,
    PreparationError,
    Staging,
    unwritable,
)
from perfnet_tf.records.schema import FRAMING_BYTES, SourceClip
from perfnet_tf.registry import load_plugins


class WorkerError(PreparationError):
    """The worker cannot start, or cannot write: no clip would ever be made."""


class LocalWorker:
    """Makes records in this process: for debugging, and where a crash may end everything."""

    def __init__(self, staging: Staging, config: PrepareConfig) -> None:
        from perfnet_tf.preparation.extract import ClipExtractor

        self._staging = staging
        self._extract = ClipExtractor(config)

    def __call__(self, clip: SourceClip) -> ClipOutcome:
        """Makes one record and puts its part in place; a clip that fails is an outcome, too.

        Raises:
            WorkerError: the output cannot be written to, such as a full disk.
        """
        try:
            extraction = self._extract(clip)
        except InputError as error:
            return ClipOutcome(clip.key, cause=str(error))
        except Exception as error:  # One odd video must not end a run of days; it is reported.
            cause = f"{type(error).__name__}: {error}"
            return ClipOutcome(clip.key, cause=" ".join(cause.split()))
        try:
            size, digest = _write_record(self._staging.part(clip.key), extraction.serialized)
        except OSError as error:
            raise WorkerError(unwritable(self._staging.output, error)) from error
        return ClipOutcome(
            clip.key,
            size=size,
            sha256=digest,
            num_frames=extraction.num_frames,
            person_frames=extraction.person_frames,
            keypoint_frames=extraction.keypoint_frames,
            flow_rescaled=extraction.flow_rescaled,
            cause=extraction.incomplete,
            deinterlaced=extraction.deinterlaced,
            scores_clipped=extraction.scores_clipped,
        )

    def close(self) -> None:
        """Nothing to end."""


def _write_record(path: pathlib.Path, serialized: bytes) -> tuple[int, str]:
    """Puts a TFRecord file of one record in place in one step; returns its size and SHA-256."""
    import tensorflow as tf

    path.parent.mkdir(exist_ok=True)
    with atomic_path(path, per_process=True) as partial:
        try:
            with tf.io.TFRecordWriter(str(partial)) as writer:
                writer.write(serialized)
        except tf.errors.OpError as error:
            raise OSError(errno.EIO, first_line(error)) from error
        size = partial.stat().st_size
        if size != len(serialized) + FRAMING_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        digest = file_digest(partial)
    return size, digest


def serve() -> None:
    """Runs the child: settings, then clips, until standard input ends."""
    # Control-C is the parent's to handle: a child that dies of it is no failed clip. A session of
    # its own would spare it, too, but Linux gives each session the same share of the processor,
    # whatever its `nice`: the workers would starve everything else.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Answers go out through a descriptor of our own: what libraries print goes to the log.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(values: Mapping[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    setup = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with, args=(setup["parent"],), daemon=True).start()
    _share_machine(setup["num_threads"])
    try:
        load_plugins()
        worker = LocalWorker(Staging(setup["output"]), PrepareConfig(**setup["config"]))
    except InputError as error:
        answer({"error": str(error)})
        return
    answer({})
    for line in sys.stdin:
        try:
            outcome = worker(SourceClip(**json.loads(line)))
        except WorkerError as error:
            answer({"error": str(error)})
            return
        answer(dataclasses.asdict(outcome))


def _end_with(parent: int) -> None:
    """Ends this process soon after the parent is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _share_machine(num_threads: int) -> None:
    """Keeps N workers from running N threads each, and from taking all of a GPU's memory each."""
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(num_threads)  # also of the video decoder
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
