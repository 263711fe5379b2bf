"""PERF-Net's Table 7: students fine-tuned on UCF-101 and HMDB-51, the mean of three splits."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.official_splits import base_name, official_split_folders
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.presets import PRESETS
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.reporting.html import Report, Table, write_report
from perfnet_tf.reporting.markdown import write_markdown
from perfnet_tf.reproduction.finetuning import (
    SplitAccuracies,
    finetune_splits,
    mean_over_seeds,
)
from perfnet_tf.reproduction.formatting import format_figure, format_spread
from perfnet_tf.reproduction.results import Spread
from perfnet_tf.reproduction.runner import Execution
from perfnet_tf.reproduction.tables import TABLE7, PaperAccuracy
from perfnet_tf.version import __version__

TITLE = "Table 7: fine-tuning on UCF-101 and HMDB-51"
#: Our choice, for a few hundred clips: the paper's 30 epochs at the paper preset's rate.
MINI_EPOCHS = 30


@dataclass(frozen=True, eq=False)
class FinetunedRow:
    """A student fine-tuned on a dataset.

    Attributes:
        start: name of the weights that it started from.
        dataset: name of the data.
        seeds: seed -> accuracies on the splits.
        paper: the paper's figure, if it has one for this start and dataset.
    """

    start: str
    dataset: str
    seeds: Mapping[int, SplitAccuracies]
    paper: PaperAccuracy | None

    @property
    def mean(self) -> Spread:
        """Mean over the splits, one value a seed."""
        return mean_over_seeds(tuple(self.seeds.values()))

    @property
    def first(self) -> SplitAccuracies:
        """Of the first seed."""
        return next(iter(self.seeds.values()))


def table7_config(preset: str, dataset: str, initial: Run) -> ExperimentConfig:
    """How `initial` is fine-tuned on a dataset.

    Args:
        preset: `paper` or `mini`, which keeps the clips of `initial`.
        dataset: its official name, such as `ucf101`.
        initial: gives network and stream.

    Raises:
        InputError: an unknown preset.
    """
    check_choice("`preset`", preset, ("paper", "mini"))
    given = initial.config
    if preset == "paper":
        name = f"paper_s3d_g_{dataset}"
        base = PRESETS[name if name in PRESETS else "paper_s3d_g_ucf101"]
    else:
        paper = PRESETS["paper_s3d_g_ucf101"].train
        train = dataclasses.replace(
            PRESETS["mini"].train, epochs=MINI_EPOCHS, learning_rate=paper.learning_rate
        )
        base = given.replace(train=train)
    return base.replace(
        stream=given.stream, model=given.model, pose_render=given.pose_render, distill=None
    )


def reproduce_table7(
    starts: Mapping[str, Run],
    data: Sequence[str],
    output: str | os.PathLike[str],
    *,
    preset: str,
    seeds: Sequence[int] = (0,),
    change: Callable[[ExperimentConfig], ExperimentConfig] | None = None,
    command: str = "",
    execution: Execution | None = None,
) -> tuple[tuple[FinetunedRow, ...], pathlib.Path]:
    """Fine-tunes every start on every dataset's splits; called again, it resumes.

    Args:
        starts: name -> run. `kinetics600` and `kinetics700` are the paper's.
        data: prepared datasets; one without official splits is measured on its own.
        output: networks in OUTPUT/runs, the report in OUTPUT/table7.
        preset: see `table7_config`.
        seeds: each fine-tunes every start on every split.
        change: of the configuration.
        command: shell command that does the same, for the report.
        execution: where and how to train.

    Returns:
        The rows, and the path of `report.html`.

    Raises:
        InputError: nothing to start from, no data, or as in `finetune_splits`.
    """
    if not starts or not data or not seeds:
        raise InputError(
            "Table 7 fine-tunes given weights (`starts`) on given `data`. "
            f"Received: {len(starts)} runs, {len(data)} datasets, {len(seeds)} seeds."
        )
    rows = []
    configs: dict[str, ExperimentConfig] = {}
    for start, initial in starts.items():
        for folder in data:
            info = read_dataset_info(folder)
            dataset = base_name(info)
            config = table7_config(preset, dataset, initial)
            config = change(config) if change else config
            configs[f"{start}, {info.name}"] = config
            folders = official_split_folders(folder) or {1: os.fspath(folder)}
            accuracies = {}
            for seed in seeds:
                accuracies[seed] = finetune_splits(
                    config.replace(train=dataclasses.replace(config.train, seed=seed)),
                    folders,
                    output,
                    initial,
                    prefix=f"finetuned-{start}-{info.name}-seed{seed}-",
                    execution=execution,
                )
            paper = TABLE7.get(start, {}).get(dataset)
            rows.append(FinetunedRow(start, info.name, accuracies, paper))
    report = _write(tuple(rows), configs, pathlib.Path(output) / "table7", preset, command)
    return tuple(rows), report


def finetuning_table(rows: Sequence[FinetunedRow]) -> Table:
    """The rows as text, for the report and for a terminal."""
    lines = []
    for row in rows:
        splits = ", ".join(f"{100 * split.top1:.1f}" for split in row.first.splits.values())
        clips = ", ".join(str(split.num_clips) for split in row.first.splits.values())
        lines.append(
            [
                f"{row.start}, fine-tuned on {row.dataset}",
                format_figure(row.paper),
                format_spread(row.mean),
                splits,
                str(len(row.seeds)),
                clips,
            ]
        )
    notes = [
        "Top-1 in percent: the mean over the official splits; with several seeds, mean and "
        "standard deviation of that mean. Each split: of the first seed.",
    ]
    alone = [row.dataset for row in rows if len(row.first.splits) == 1]
    if alone:
        notes.append(
            f"One split only: {', '.join(dict.fromkeys(alone))}. The paper's figure is a mean of "
            "three: run `perfnet prepare --official_split=all`."
        )
    columns = ["", "paper", "ours", "each split", "seeds", "clips"]
    return Table("Results", columns, lines, notes)


def _write(
    rows: tuple[FinetunedRow, ...],
    configs: Mapping[str, ExperimentConfig],
    folder: pathlib.Path,
    preset: str,
    command: str,
) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    notes = dict.fromkeys(note for row in rows for one in row.seeds.values() for note in one.notes)
    settings = {"preset": preset}
    for name, config in configs.items():
        train = config.train
        settings[name] = (
            f"{config.model.backbone} of width {config.model.width_multiplier:g}, clips "
            f"{config.clip} (measured {config.resolved_eval_clip}), {train.epochs} epochs of "
            f"batches of {train.batch_size}, learning rate {train.peak_learning_rate:g}, "
            f"dropout {config.model.dropout_rate:g}, {train.precision}"
        )
    report = Report(
        title=TITLE,
        summary=[
            "Networks that start from other weights, trained by cross-entropy only and measured "
            "on the test clips of each split, one central crop a clip.",
            *notes,
        ],
        num_classes=1,
        tables=[finetuning_table(rows)],
        settings=settings,
        commands=[("The command that made this; rerun it to resume:", command)] if command else [],
    )
    (folder / "results.json").write_text(json.dumps(_as_json(rows, preset), indent=2) + "\n")
    write_markdown(report, folder / "report.md")
    return write_report(report, folder / "report.html")


def _as_json(rows: Sequence[FinetunedRow], preset: str) -> dict[str, Any]:
    return {
        "table": "table7",
        "preset": preset,
        "rows": [
            {
                "start": row.start,
                "dataset": row.dataset,
                "paper_top1": None if row.paper is None else row.paper.top1,
                "top1": {
                    "mean": row.mean.mean,
                    "std": row.mean.deviation,
                    "values": list(row.mean.values),
                },
                "seeds": {
                    str(seed): {
                        str(number): dataclasses.asdict(split)
                        for number, split in accuracies.splits.items()
                    }
                    for seed, accuracies in row.seeds.items()
                },
            }
            for row in rows
        ],
        "perfnet_tf": __version__,
    }
