"""Makes records of clips: in this process, or in one that `preparation.worker_process` started."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

from perfnet_tf import storage
from perfnet_tf.errors import InputError, MissingLibraryError
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.fetching import ClipFetcher, fetch_settings
from perfnet_tf.preparation.open_staging import open_staging
from perfnet_tf.preparation.outcomes import ClipOutcome, PreparationError
from perfnet_tf.preparation.staging import Staging, unwritable
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.registry import load_plugins
from perfnet_tf.threads import set_num_threads
from perfnet_tf.video.optional_opencv import find_opencv


class WorkerError(PreparationError):
    """The worker cannot start, or cannot write: no clip would ever be made."""


class LocalWorker:
    """Makes records in this process: for debugging, and where a crash may end everything."""

    def __init__(self, staging: Staging, config: PrepareConfig) -> None:
        from perfnet_tf.preparation.extract import ClipExtractor

        self._staging = staging
        self._fetch = ClipFetcher(config)
        self._extract = ClipExtractor(fetch_settings(config))

    def __call__(self, clip: SourceClip) -> ClipOutcome:
        """Makes one record and puts its part in place; a clip that fails is an outcome, too.

        Raises:
            WorkerError: the output cannot be written to, such as a full disk, or a library that
                clips need cannot be loaded.
        """
        try:
            with self._fetch(clip) as local:
                extraction = self._extract(local)
        except InputError as error:
            return ClipOutcome(clip.key, cause=str(error))
        except MissingLibraryError as error:  # Other clips would fail of it as well.
            raise WorkerError(str(error)) from error
        except Exception as error:  # One odd video must not end a run of days; it is reported.
            cause = f"{type(error).__name__}: {error}"
            return ClipOutcome(clip.key, cause=" ".join(cause.split()))
        try:
            size, digest = self._staging.write_part(clip.key, extraction.serialized)
        except OSError as error:
            raise WorkerError(unwritable(self._staging.address, error)) from error
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
        if setup["bucket_options"] is not None:
            tempfile.tempdir = setup["scratch"]  # the parent removes it, however this one ends
            storage.set_options(setup["bucket_options"])
        worker = LocalWorker(open_staging(setup["output"]), PrepareConfig(**setup["config"]))
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
    """Keeps N workers from running N threads each, and from taking all of a GPU's memory each.

    A worker takes a GPU's memory as it needs it: for its network, and for batches of
    `devices.BATCH_MEMORY`.
    """
    import tensorflow as tf

    set_num_threads(num_threads)
    if (cv2 := find_opencv()) is not None:
        cv2.setNumThreads(num_threads)
    tf.config.threading.set_intra_op_parallelism_threads(num_threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
