"""One call for a table: plans its runs, trains and measures the missing ones, writes the report."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from perfnet_tf.datasets.groups import write_validation_subset
from perfnet_tf.datasets.official_splits import data_notes
from perfnet_tf.errors import InputError
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.reader import check_streams
from perfnet_tf.reproduction.plan import Workspace, plan_runs, row_runs, rows_by_backbone
from perfnet_tf.reproduction.reporting import write_table_report
from perfnet_tf.reproduction.results import Reproduction, collect_results
from perfnet_tf.reproduction.runner import Execution, run_plan
from perfnet_tf.reproduction.settings import Settings
from perfnet_tf.reproduction.tables import NETWORKS, PaperRow, PaperTable


@dataclass(frozen=True)
class ReproduceConfig:
    """What is reproduced, and how.

    Attributes:
        table: of the paper.
        settings: backbone -> kind of network -> configuration.
        preset: that the settings began with; `paper` leaves out what the paper does not state.
        rows: names of rows; empty takes all.
        seeds: each trains every network once.
        initial: runs whose weights the networks of their backbone and stream start from.
        start: what all other networks start from, whatever their stream; `settings` are then those
            of `plan.begin_with`.
        student_start: `pose` starts students from the pose network's weights; its pictures are RGB
            frames with people drawn on them. None starts them as all others.
        split: measured on; None takes `val` for Kinetics, which has no public test labels, and
            `test` for all else.
        validation_fold: train on a part of the training groups and measure on the others, which
            are this part of them; None trains on all and measures on `split`.
        every_row: with `paper`, measure rows that the paper does not state for a backbone, too.
        views: windows, and crops of each, that are seen of every video; 1 and 1 as in the paper.
    """

    table: PaperTable
    settings: Settings
    preset: str
    rows: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    initial: tuple[str, ...] = ()
    start: str | None = None
    student_start: str | None = None
    split: str | None = None
    validation_fold: int | None = None
    every_row: bool = False
    views: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.validation_fold is not None and self.split is not None:
            raise InputError(
                "A validation measures on training clips that it holds out. Received: "
                f"split={self.split!r} besides. Leave one of them out."
            )
        validates = any(
            config.train.validate_every_epochs
            for kinds in self.settings.values()
            for config in kinds.values()
        )
        if validates and self.validation_fold is None:
            raise InputError(
                "Curves over the epochs are for choosing settings, which test clips are not: "
                "`validate_every_epochs` goes with `validation_fold`. Give both."
            )

    @property
    def selected_rows(self) -> tuple[PaperRow, ...]:
        """The rows named; of all, those of what a start gives only where students have one."""
        rows = self.table.selected(self.rows)
        if self.rows or self.student_start is not None:
            return rows
        return tuple(row for row in rows if not any(NETWORKS[name].start for name in row.networks))


def reproduce_table(
    config: ReproduceConfig,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    command: str = "",
    execution: Execution | None = None,
) -> tuple[Reproduction, pathlib.Path]:
    """Reproduces a table; called again, it resumes where it stopped.

    OUTPUT/runs holds the networks, which other tables with the same output use again;
    OUTPUT/TABLE the report, written again after each seed. A validation has its own folder
    in the output.

    Args:
        config: what to do.
        data: a prepared dataset.
        output: made if missing.
        command: shell command that does the same, for the report.
        execution: where and how to train.

    Returns:
        What came out, and the path of `report.html`.

    Raises:
        InputError: data that do not hold what the table needs; an output with other runs; or as in
            `train`.
    """
    data = os.fspath(data)
    workspace = Workspace(pathlib.Path(output))
    rows = rows_by_backbone(
        config.selected_rows,
        config.settings,
        only_stated=bool(config.table.dataset)
        and config.preset == "paper"
        and not config.every_row,
    )
    if not rows:
        raise InputError(
            f"The paper states nothing of {config.table.name} for "
            f"{', '.join(config.settings)}. Choose another `backbone` or other `rows`."
        )
    plan = plan_runs(
        rows,
        config.settings,
        config.seeds,
        initial=config.initial,
        start=config.start,
        student_start=config.student_start,
    )
    info = read_dataset_info(data)
    check_streams({run.network.stream for run in plan}, info)
    split = config.split or ("val" if info.name.startswith("kinetics") else "test")
    notes = data_notes(data)
    if config.validation_fold is not None:
        workspace = Workspace(workspace.path / f"validation{config.validation_fold}")
        subset = workspace.path / "data"
        write_validation_subset(data, subset, config.validation_fold)
        data, split = os.fspath(subset), "val"
        info = read_dataset_info(data)
    info.split(split)

    done: list[str] = []
    last_of_seed = _last_runs(config.seeds, plan_names=[run.name for run in plan], rows=rows)
    reproduction, report = None, None
    news = False
    for run, is_new in run_plan(
        plan,
        workspace,
        data,
        split=split,
        views=config.views,
        execution=execution or Execution(),
    ):
        done.append(run.name)
        news = news or is_new
        if run is plan[-1] or (news and run.name in last_of_seed):
            news = False
            reproduction = Reproduction(
                table=config.table,
                preset=config.preset,
                dataset=info.name,
                split=split,
                views=config.views,
                num_train=info.split("train")["num_clips"],
                seeds=config.seeds,
                plan=plan,
                results=collect_results(rows, config.seeds, workspace, done),
                notes=notes,
                command=command,
            )
            report = write_table_report(reproduction, workspace)
    assert reproduction is not None and report is not None  # every plan ends a seed
    return reproduction, report


def _last_runs(
    seeds: Sequence[int],
    *,
    plan_names: Sequence[str],
    rows: Mapping[str, Sequence[PaperRow]],
) -> set[str]:
    """The runs after which all of a seed's rows can be measured."""
    result = {plan_names[-1]}
    for seed in seeds:
        needed = {
            name
            for backbone, its_rows in rows.items()
            for row in its_rows
            for name in row_runs(row, backbone, seeds, seed)
        }
        result.add(max(needed, key=plan_names.index))
    return result
