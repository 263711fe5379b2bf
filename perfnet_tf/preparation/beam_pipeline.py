"""The Apache Beam pipelines that make records and shards on a cluster.

They need `perfnet-tf[cluster]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from perfnet_tf import storage
from perfnet_tf.errors import first_line
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.open_staging import open_staging
from perfnet_tf.preparation.outcomes import ClipOutcome, PreparationError
from perfnet_tf.preparation.runners import resolve_options
from perfnet_tf.preparation.shards import Made, write_shard
from perfnet_tf.preparation.shared_workers import SHARED_WORKERS, RecordMaker
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.records.schema import SourceClip
from perfnet_tf.threads import available_cores


class MakeRecord(beam.DoFn):
    """`SourceClip` to `ClipOutcome`, leaving the record in the staging folder."""

    def __init__(
        self,
        output: str,
        config: PrepareConfig,
        *,
        num_threads: int,
        time_limit: float | None,
        bucket_options: Sequence[str] | None,
    ) -> None:
        self._output = output
        self._config = config
        self._bucket_options = bucket_options
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
        staging = _open(self._output, self._bucket_options)
        return RecordMaker(staging, self._config, self._num_threads, self._time_limit)


class WriteShard(beam.DoFn):
    """A shard's name and what is in it to its SHA-256, which is left in the staging folder."""

    def __init__(self, output: str, bucket_options: Sequence[str] | None) -> None:
        self._output = output
        self._bucket_options = bucket_options

    def process(self, shard: tuple[str, list[Made]]) -> Iterator[str]:
        """Writes one shard."""
        staging = _open(self._output, self._bucket_options)
        name, made = shard
        digest = write_shard(name, made, staging)
        storage.write_atomically(staging.staged_path(_digest_file(name)), digest)
        yield digest


def _open(output: str, bucket_options: Sequence[str] | None) -> Staging:
    if bucket_options is not None:
        storage.set_options(bucket_options)
    return open_staging(output)


def _digest_file(name: str) -> str:
    return f"shard-{name}.sha256"


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
    cores = available_cores()
    make = MakeRecord(
        staging.address,
        config,
        num_threads=max(1, cores // max(1, cores if workers is None else workers)),
        time_limit=time_limit,
        bucket_options=storage.current_options(),
    )
    _run("MakeRecord", make, pending, beam_options)


def write_shards(
    shards: Mapping[str, Sequence[Made]], staging: Staging, beam_options: Sequence[str]
) -> dict[str, str]:
    """Writes shards on the cluster, as `preparation.shards.write_shard` does.

    Args:
        shards: file name -> what is in it.
        staging, beam_options: as in `run_pipeline`.

    Returns:
        File name -> SHA-256.

    Raises:
        InputError, PreparationError: as `run_pipeline`.
    """
    write = WriteShard(staging.address, storage.current_options())
    _run("WriteShard", write, [(name, [*made]) for name, made in shards.items()], beam_options)
    digests = {}
    for name, made in shards.items():
        try:
            digests[name] = storage.read_bytes(staging.staged_path(_digest_file(name))).decode()
        except FileNotFoundError:
            digests[name] = write_shard(name, made, staging)
    return digests


def _run(
    label: str, function: beam.DoFn, elements: Sequence[Any], beam_options: Sequence[str]
) -> None:
    """Runs a pipeline of one function until it has ended."""
    options = resolve_options(beam_options)
    try:
        with _only_errors_logged("distributed", "apache_beam.runners.dask"):
            pipeline = beam.Pipeline(options=PipelineOptions(options))
            (
                pipeline
                | "Elements" >> beam.Create(elements)
                # Without it one worker would get all clips: Beam fuses steps that it can.
                | "Spread" >> beam.Reshuffle()
                | label >> beam.ParDo(function)
            )
            _wait_for(pipeline)
    except Exception as error:
        raise PreparationError(
            f"The pipeline failed: {_last_line(error)}. Run the command again to resume."
        ) from error
    finally:
        SHARED_WORKERS.close_idle()  # of runners that work in this process


def _wait_for(pipeline: beam.Pipeline) -> None:
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
