"""The Apache Beam pipeline that makes records on a cluster; needs `perfnet-tf[cluster]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import ClipOutcome, Journal, PreparationError, Staging
from perfnet_tf.preparation.worker_pool import available_cores
from perfnet_tf.preparation.worker_process import WorkerProcess
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
        self._worker: WorkerProcess | None = None

    def setup(self) -> None:
        """Opens a journal; the worker starts with the first clip."""
        self._staging = Staging(self._output)
        self._journal = Journal(self._staging)

    def process(self, clip: SourceClip) -> Iterator[ClipOutcome]:
        """Makes one record."""
        if self._worker is None:
            self._worker = WorkerProcess(
                self._staging, self._config, self._num_threads, time_limit=self._time_limit
            )
        outcome = self._worker(clip)
        if outcome is not None:
            self._journal.write(outcome)
            yield outcome

    def teardown(self) -> None:
        """Ends the worker."""
        if self._worker is not None:
            self._worker.close()


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
        PreparationError: the pipeline failed.
    """
    cores = available_cores()
    make = MakeRecord(
        str(staging.output.absolute()),
        config,
        num_threads=max(1, cores // max(1, cores if workers is None else workers)),
        time_limit=time_limit,
    )
    try:
        with beam.Pipeline(options=PipelineOptions([*beam_options])) as pipeline:
            (
                pipeline
                | "Clips" >> beam.Create(pending)
                # Without it one worker would get all clips: Beam fuses steps that it can.
                | "Spread" >> beam.Reshuffle()
                | "MakeRecord" >> beam.ParDo(make)
            )
    except Exception as error:
        raise PreparationError(
            f"The pipeline failed: {_last_line(error)} Run the command again to resume."
        ) from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{lines[-1] if lines else type(error).__name__}"
