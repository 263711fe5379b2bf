"""Trains and measures the runs that a table needs, one after the other; resumes after a stop."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras
from tqdm import tqdm

from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.fusion import ClipScores
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.files import exclusive_lock, write_atomically
from perfnet_tf.recognizers.run_directory import update_record
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.reproduction.plan import PlannedRun, Workspace, missing_runs, weights_digest
from perfnet_tf.training.run_identity import RECORDS_DIGEST
from perfnet_tf.training.schedules import steps_per_epoch
from perfnet_tf.training.trainer import train

#: Next to the scores: what decides them.
IDENTITY_FILE = "evaluation.json"


@dataclass(frozen=True)
class Execution:
    """Where and how networks are trained, which decides nothing of them: arguments of `train`.

    Raises:
        InputError: a strategy of several workers.
    """

    strategy: tf.distribute.Strategy | None = None
    jit_compile: bool = False
    deterministic: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Each would plan, measure and report, and wait for the others' locks.
            raise InputError(
                "Tables are made by one process. Received: a strategy of several workers. Train "
                "with them by perfnet train and distill, into OUTPUT/runs, and reproduce then."
            )


def run_plan(
    plan: Sequence[PlannedRun],
    workspace: Workspace,
    data: str,
    *,
    split: str,
    views: tuple[int, int] = (1, 1),
    unlabelled: pathlib.Path | None = None,
    execution: Execution,
) -> Iterator[tuple[PlannedRun, bool]]:
    """Trains and evaluates what is missing; yields each run when it is both, and if it was not.

    Another process may work in the same workspace: whoever comes second to a run waits for it.

    Args:
        plan: runs, teachers before their students.
        workspace: folders.
        data: prepared dataset.
        split: evaluated on.
        views: windows, and crops of each, that are seen of every video.
        unlabelled: prepared dataset for networks that learn from clips without labels.
        execution: where and how.

    Raises:
        InputError: a folder holds another run, or as in `train`.
    """
    info = read_dataset_info(data)
    info.split(split)
    missing = {run.name for run in missing_runs(plan, workspace, info)}
    progress = execution.progress
    line = _ProgressLine(plan, missing, info, show=progress)
    for run in plan:
        clip = run.config.resolved_eval_clip
        train_it = run.name in missing
        if train_it:
            line.begin(run)
            _train(run, workspace, data, info, unlabelled, execution)
        with _waiting(workspace.path / "evaluation" / f".{run.name}.lock", progress):
            measured = _identity(run.name, workspace, info, split, clip, views)
            measure_it = not _is_evaluated(run.name, workspace, measured)
            if measure_it:
                _evaluate(run.name, workspace, data, measured, split, clip, views, progress)
        if train_it:
            line.end(run)
        yield run, train_it or measure_it


def load_scores(workspace: Workspace, name: str) -> ClipScores:
    """What a run said about the clips that it was evaluated on."""
    return ClipScores.load(workspace.evaluation(name) / "logits.npz")


def _train(
    run: PlannedRun,
    workspace: Workspace,
    data: str,
    info: DatasetInfo,
    unlabelled: pathlib.Path | None,
    execution: Execution,
) -> None:
    # Absolute, so that a run is the same from wherever the command is given.
    root = Workspace(workspace.path.resolve())
    folder = root.run(run.name)
    teachers = {stream: root.run(name) for stream, name in run.teachers.items()}
    with _waiting(folder.with_name(f".{run.name}.lock"), execution.progress):
        if not missing_runs([run], root, info):
            return  # the process that was waited for has trained it
        train(
            run.config,
            data,
            folder,
            teachers=teachers,
            unlabelled=unlabelled if run.network.unlabelled else None,
            initial=root.run(run.start) if run.start else run.initial,
            strategy=execution.strategy,
            jit_compile=execution.jit_compile,
            deterministic=execution.deterministic,
            progress=execution.progress,
        )
        if teachers:
            digests = {stream: weights_digest(path) for stream, path in teachers.items()}
            update_record(folder, teacher_weights_sha256=digests)
    # A process that trains dozens of networks must not keep them all.
    tf_keras.backend.clear_session()
    gc.collect()


def _evaluate(
    name: str,
    workspace: Workspace,
    data: str,
    measured: Mapping[str, object],
    split: str,
    clip: ClipConfig,
    views: tuple[int, int],
    progress: bool,
) -> None:
    folder = workspace.evaluation(name)
    identity = folder / IDENTITY_FILE
    identity.unlink(missing_ok=True)
    windows, crops = views
    evaluate_runs(
        [workspace.run(name)],
        data,
        folder,
        split=split,
        clip=clip,
        windows=windows,
        crops=crops,
        progress=progress,
    )
    write_atomically(identity, json.dumps(measured, indent=2) + "\n")
    tf_keras.backend.clear_session()
    gc.collect()


def _is_evaluated(name: str, workspace: Workspace, measured: Mapping[str, object]) -> bool:
    try:
        content = json.loads((workspace.evaluation(name) / IDENTITY_FILE).read_text())
    except (OSError, json.JSONDecodeError):
        return False
    if isinstance(content, dict):  # earlier versions did not state the records
        content.setdefault(RECORDS_DIGEST, measured[RECORDS_DIGEST])
    return bool(content == measured)


def _identity(
    name: str,
    workspace: Workspace,
    info: DatasetInfo,
    split: str,
    clip: ClipConfig,
    views: tuple[int, int],
) -> dict[str, object]:
    """What decides the scores of a run."""
    return {
        "dataset": info.name,
        "split": split,
        "num_clips": info.split(split)["num_clips"],
        RECORDS_DIGEST: info.records_digest(split),
        "clip": dataclasses.asdict(clip),
        "views": list(views),
        "weights_sha256": weights_digest(workspace.run(name)),
    }


def _waiting(path: pathlib.Path, progress: bool) -> contextlib.AbstractContextManager[None]:
    """The lock of a run; waits for another process that works on it."""

    def report() -> None:
        if progress:
            name = path.stem.lstrip(".")
            print(f"{name}: waiting for another process", file=sys.stderr, flush=True)

    return exclusive_lock(path, on_busy=report)


class _ProgressLine:
    """Prints which run is next, of how many, and about how long the rest takes."""

    def __init__(
        self, plan: Sequence[PlannedRun], missing: set[str], info: DatasetInfo, *, show: bool
    ) -> None:
        self._show = show
        num_clips = info.split("train")["num_clips"]
        self._work = {run.name: _work(run, num_clips) for run in plan if run.name in missing}
        self._left = sum(self._work.values())
        self._seconds = self._done = 0.0
        self._number, self._total = 0, len(self._work)
        self._say(f"{len(plan)} runs, {len(plan) - self._total} of them there already")

    def begin(self, run: PlannedRun) -> None:
        self._number += 1
        left = ""
        if self._done:
            seconds = self._left * self._seconds / self._done
            left = f"; about {tqdm.format_interval(seconds)} left for all"
        self._say(f"[{self._number}/{self._total}] {run.name}{left}")
        self._began = time.monotonic()

    def end(self, run: PlannedRun) -> None:
        self._seconds += time.monotonic() - self._began
        self._done += self._work[run.name]
        self._left -= self._work[run.name]

    def _say(self, line: str) -> None:
        if self._show:
            print(line, file=sys.stderr, flush=True)


def _work(run: PlannedRun, num_clips: int) -> float:
    """About how much arithmetic a run is: gradients cost twice the network, a teacher once."""
    train = run.config.train
    clip = run.config.clip
    pixels = clip.num_frames * clip.height * clip.width
    steps = train.epochs * steps_per_epoch(num_clips, train.batch_size) * train.batch_size
    return steps * pixels * (3 + len(run.teachers)) * run.config.model.width_multiplier**2
