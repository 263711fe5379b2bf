"""The Apache Beam pipeline that makes records on a cluster; needs `perfnet-tf[cluster]`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from perfnet_tf.errors import first_line
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.runners import resolve_options
from perfnet_tf.preparation.shared_workers import SHARED_WORKERS, RecordMaker
from perfnet_tf.preparation.staging import ClipOutcome, PreparationError, Staging
from perfnet_tf.preparation.worker_pool import available_cores
from perfnet_tf.records.schema import SourceClip


class MakeRecord(beam.DoFn):
    """`SourceClip` to `ClipOutcome`, leaving the record in the staging folder."""

    def __init__(
        self, output: str, config: PrepareConfig, *, num_threads: int, time_limit: float | None
    ) -> None:
        self._output = output
        self._config = config
        self._num_threads = num_threads
        self._time_limit = time_limit

    def process(self, clip: SourceClip) -> Iterator[ClipOutcome]:
        """Makes one record."""
        with SHARED_WORKERS.lend(self._key, self._start) as maker:
            outcome = maker(clip)
        if outcome is not None:
            yield outcome

    @property
    def _key(self) -> str:
        settings = dataclasses.asdict(self._config)
        return json.dumps([self._output, settings, self._num_threads, self._time_limit])

    def _start(self) -> RecordMaker:
        staging = Staging(self._output)
        return RecordMaker(staging, self._config, self._num_threads, self._time_limit)


def run_pipeline(
    pending: Sequence[SourceClip],
    staging: Staging,
    config: PrepareConfig,
    beam_options: Sequence[str],
    *,
    workers: int | None = None,
    time_limit: float | None = None,
) -> None:
    """Makes the records of `pending`, leaving parts and journals in the staging folder.

    Args:
        pending: at least one clip.
        staging: where they go; every machine of the runner must see it under this path.
        config: the settings.
        beam_options: Beam's, a runner among them.
        workers: workers that share a machine's cores; None gives each of them one core.
        time_limit: `clip_time_limit` of `preparation.build.build_records`.

    Raises:
        InputError: no runner, an unknown one, or one whose packages are missing.
        PreparationError: the pipeline failed.
    """
    options = resolve_options(beam_options)
    cores = available_cores()
    make = MakeRecord(
        str(staging.output.absolute()),
        config,
        num_threads=max(1, cores // max(1, cores if workers is None else workers)),
        time_limit=time_limit,
    )
    try:
        with _only_errors_logged("distributed", "apache_beam.runners.dask"):
            pipeline = beam.Pipeline(options=PipelineOptions(options))
            (
                pipeline
                | "Clips" >> beam.Create(pending)
                # Without it one worker would get all clips: Beam fuses steps that it can.
                | "Spread" >> beam.Reshuffle()
                | "MakeRecord" >> beam.ParDo(make)
            )
            _run(pipeline)
    except Exception as error:
        raise PreparationError(
            f"The pipeline failed: {_last_line(error)}. Run the command again to resume."
        ) from error
    finally:
        SHARED_WORKERS.close_idle()  # of runners that work in this process


def _run(pipeline: beam.Pipeline) -> None:
    result = pipeline.run()
    try:
        result.wait_until_finish()
    except BaseException:
        # The cluster may work on without this process; what it makes counts.
        with contextlib.suppress(Exception):
            result.cancel()
        raise
    finally:
        _close_client(result)


def _close_client(result: Any) -> None:
    """Ends the connection to Dask, which otherwise logs pages when the process ends."""
    client = getattr(result, "client", None)
    if client is not None:
        with contextlib.suppress(Exception):
            client.close()


@contextlib.contextmanager
def _only_errors_logged(*names: str) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else first_line(error)).rstrip(".")
