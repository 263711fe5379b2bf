"""Fine-tuning on every official split of a dataset, and the mean over them (PERF-Net Sec. 4.4)."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.official_splits import data_notes
from perfnet_tf.evaluation import metrics
from perfnet_tf.files import write_atomically
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.reader import check_streams
from perfnet_tf.reproduction.plan import PlannedRun, Workspace, missing_runs
from perfnet_tf.reproduction.results import Spread
from perfnet_tf.reproduction.runner import Execution, load_scores, run_plan
from perfnet_tf.reproduction.tables import Network
from perfnet_tf.version import __version__

TEST_SPLIT = "test"


@dataclass(frozen=True)
class SplitAccuracy:
    """Accuracy on one official split.

    Attributes:
        top1, top5: shares in [0, 1].
        num_train, num_clips: clips trained on, and measured on.
        run: folder of the network.
    """

    top1: float
    top5: float
    num_train: int
    num_clips: int
    run: str


@dataclass(frozen=True)
class SplitAccuracies:
    """Accuracy on each official split.

    Attributes:
        splits: number -> accuracy.
        notes: what a reader of the accuracies must know of the data.
    """

    splits: Mapping[int, SplitAccuracy]
    notes: tuple[str, ...] = ()

    @property
    def top1(self) -> Spread:
        """Of the splits."""
        return Spread(tuple(split.top1 for split in self.splits.values()))

    @property
    def top5(self) -> Spread:
        """Of the splits."""
        return Spread(tuple(split.top5 for split in self.splits.values()))


def finetune_splits(
    config: ExperimentConfig,
    folders: Mapping[int, str],
    output: str | os.PathLike[str],
    initial: Run,
    *,
    prefix: str = "",
    execution: Execution | None = None,
) -> SplitAccuracies:
    """Fine-tunes from the same weights on each split, and measures each on its own test clips.

    Resumable: finished runs are kept. OUTPUT/runs/splitN are the networks, OUTPUT/evaluation/splitN
    what they say about the test clips.

    Args:
        config: of every run.
        folders: number of the split -> prepared dataset (`official_splits.choose_splits`).
        output: folder.
        initial: whose weights are the first; fine-tuning has no teachers (PERF-Net Sec. 4.4).
        prefix: of the names of runs.
        execution: where and how to train.

    Raises:
        InputError: a folder holds another run, or as in `train`.
    """
    workspace = Workspace(pathlib.Path(output))
    network = Network("finetuned", config.stream)
    plans = {
        number: PlannedRun(
            name=f"{prefix}split{number}",
            network=network,
            backbone=config.model.backbone,
            seed=config.train.seed,
            config=config.replace(distill=None),
            initial=initial,
        )
        for number in folders
    }
    infos = {number: read_dataset_info(folder) for number, folder in folders.items()}
    for number, info in infos.items():  # all of them before hours are spent on the first
        check_streams([config.stream], info)
        info.split(TEST_SPLIT)
        missing_runs([plans[number]], workspace, info)
    result = {}
    notes: dict[str, None] = {}
    for number, folder in folders.items():
        run = plans[number]
        for _ in run_plan(
            [run],
            workspace,
            folder,
            split=TEST_SPLIT,
            execution=execution or Execution(),
        ):
            scores = load_scores(workspace, run.name)
        summary = metrics.accuracy_summary(scores.logits, scores.labels)
        result[number] = SplitAccuracy(
            top1=float(summary["top1"]),
            top5=float(summary["top5"]),
            num_train=infos[number].split("train")["num_clips"],
            num_clips=int(summary["num_clips"]),
            run=str(workspace.run(run.name)),
        )
        notes.update(dict.fromkeys(data_notes(folder)))
    return SplitAccuracies(result, tuple(notes))


def write_split_metrics(
    accuracies: SplitAccuracies, output: str | os.PathLike[str]
) -> pathlib.Path:
    """Writes OUTPUT/metrics.json: the mean over the splits, and each split; returns its path."""
    path = pathlib.Path(output) / "metrics.json"
    content: dict[str, Any] = {
        "top1": accuracies.top1.mean,
        "top5": accuracies.top5.mean,
        "top1_deviation": accuracies.top1.deviation,
        "num_clips": sum(split.num_clips for split in accuracies.splits.values()),
        "splits": {
            str(number): dataclasses.asdict(split) for number, split in accuracies.splits.items()
        },
        "notes": list(accuracies.notes),
        "perfnet_tf": __version__,
    }
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    return path


def mean_over_seeds(seeds: Sequence[SplitAccuracies]) -> Spread:
    """Each seed's mean over the splits."""
    return Spread(tuple(float(np.mean(one.top1.values)) for one in seeds))
