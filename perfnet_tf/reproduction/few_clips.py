"""Not in the paper: what each network answers by how many training clips have a label."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.datasets.few_clips import FewClips, write_few_clips
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation.metrics import top_k_accuracy
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.reader import check_streams
from perfnet_tf.reporting.html import Chart, Report, Table, write_report
from perfnet_tf.reporting.markdown import write_markdown
from perfnet_tf.reproduction.formatting import format_spread, format_text_table
from perfnet_tf.reproduction.plan import Workspace, plan_runs
from perfnet_tf.reproduction.results import Spread, collect_results
from perfnet_tf.reproduction.runner import Execution, run_plan
from perfnet_tf.reproduction.settings import Settings
from perfnet_tf.reproduction.tables import FEW_CLIPS, NETWORKS, PaperRow, networks_of
from perfnet_tf.version import __version__

#: Labelled clips of each class; None is all.
COUNTS: tuple[int | None, ...] = (1, 2, 4, 8, 16, None)


@dataclass(frozen=True)
class FewClipsConfig:
    """What to train.

    Attributes:
        settings: of one backbone. Epochs are of a training on all clips: with fewer, a network
            trains for more of them, so that all trainings have about as many steps.
        preset: that the settings began with.
        counts: labelled clips of each class, in the order shown; None is all.
        seeds: each draws clips of its own, and trains every network on them.
        rows: names of rows of `FEW_CLIPS`; empty is all.
        initial: as of `ReproduceConfig`.
        start: as of `ReproduceConfig`.
        student_start: as of `ReproduceConfig`.
        views: windows, and crops of each, that are seen of every test video.
    """

    settings: Settings
    preset: str
    counts: tuple[int | None, ...] = COUNTS
    seeds: tuple[int, ...] = (0,)
    rows: tuple[str, ...] = ()
    initial: tuple[str, ...] = ()
    start: str | None = None
    student_start: str | None = None
    views: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if not self.counts or len(set(self.counts)) < len(self.counts):
            raise InputError(
                "`counts` takes different numbers of clips. Received: "
                f"{', '.join(map(format_count, self.counts)) or 'none'}."
            )

    @property
    def selected_rows(self) -> tuple[PaperRow, ...]:
        """Those named, or all; of what a start gives, only where students have a start."""
        rows = FEW_CLIPS.selected(self.rows)
        if self.rows or self.student_start is not None:
            return rows
        return tuple(row for row in rows if not any(NETWORKS[name].start for name in row.networks))


@dataclass(frozen=True, eq=False)
class FewClipsResult:
    """What came out.

    Attributes:
        config: what was asked for.
        dataset: name of the data.
        num_test: test clips.
        top1: row -> count -> one share for each seed that is done.
        left_out: counts that take the same clips as another one, see `different_counts`.
    """

    config: FewClipsConfig
    dataset: str
    num_test: int
    top1: Mapping[str, Mapping[int | None, Spread]]
    left_out: tuple[int, ...] = ()


def format_count(count: int | None) -> str:
    """A number of clips as the reports write it."""
    return "all" if count is None else str(count)


def different_counts(
    counts: Sequence[int | None], most: int
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Counts that take different clips, and the others.

    Args:
        counts: clips of each class; None is all.
        most: clips of the largest class: this many are all.
    """
    whole = [count for count in counts if count is None or count >= most]
    kept = None if None in whole else next(iter(whole), None)
    left_out = tuple(count for count in whole if count is not None and count != kept)
    return tuple(count for count in counts if count not in left_out), left_out


def reproduce_few_clips(
    config: FewClipsConfig,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    command: str = "",
    execution: Execution | None = None,
) -> tuple[FewClipsResult, pathlib.Path]:
    """Trains every network by every number of labelled clips; called again, it resumes.

    Args:
        config: what to do.
        data: a prepared dataset with splits `train` and `test`.
        output: OUTPUT/few_clips/COUNT-SEED holds clips and networks, OUTPUT/few_clips the report,
            written again after each number of clips.
        command: shell command that does the same, for the report.
        execution: where and how to train.

    Returns:
        What came out, and the path of `report.html`.

    Raises:
        InputError: several backbones, rows of clips without labels where all have one, or as in
            `reproduce_table`.
    """
    if len(config.settings) != 1:
        raise InputError(
            "Few clips train one backbone. Received: settings of "
            f"{', '.join(config.settings)}. Choose one by `backbone`."
        )
    data = os.fspath(data)
    info = read_dataset_info(data)
    wanted = networks_of(config.selected_rows, config.student_start)
    check_streams({network.stream for network in wanted}, info)
    num_all = info.split("train")["num_clips"]
    counts, left_out = different_counts(
        config.counts, max(info.split("train")["clips_per_class"].values())
    )
    num_test = info.split("test")["num_clips"]
    folder = pathlib.Path(output) / "few_clips"
    shares: dict[str, dict[int | None, list[float]]] = {}
    result, report = None, None
    for count in counts:
        for seed in config.seeds:
            own = folder / f"{format_count(count)}-seed{seed}"
            clips = write_few_clips(data, own / "data", count, seed)
            for row, share in _train(config, clips, own, seed, num_all, execution).items():
                shares.setdefault(row, {}).setdefault(count, []).append(share)
        if not shares:
            continue  # no row has clips to learn from yet
        top1 = {
            row: {each: Spread(tuple(values)) for each, values in by_count.items()}
            for row, by_count in shares.items()
        }
        shown = dataclasses.replace(config, counts=counts)
        result = FewClipsResult(shown, info.name, num_test, top1, left_out)
        report = _write(result, folder, command)
    if result is None or report is None:
        raise InputError(
            "The rows chosen learn from clips without labels, of which none is left. Received: "
            f"`counts`={','.join(map(format_count, config.counts))} of {num_all} clips. Take fewer "
            "labelled clips of each class, or other rows."
        )
    return result, report


def few_clips_table(result: FewClipsResult) -> Table:
    """The rows by numbers of clips, as text."""
    counts = result.config.counts
    done = {count for by_count in result.top1.values() for count in by_count}
    lines = [
        [
            row.title,
            *(
                format_spread(result.top1[row.name][count])
                if count in result.top1[row.name]
                else "\N{EN DASH}"
                for count in counts
                if count in done
            ),
        ]
        for row in result.config.selected_rows
        if row.name in result.top1
    ]
    columns = ["labelled clips of each class", *(format_count(c) for c in counts if c in done)]
    notes = [
        f"Top-1 of {result.num_test} test clips in percent; {len(result.config.seeds)} draws of "
        "clips, each with a seed of its own: mean and standard deviation. Every training has about "
        "as many steps as one on all clips."
    ]
    if result.left_out:
        notes.append(
            f"Left out: {', '.join(map(format_count, result.left_out))}. They take all clips, as "
            "another column does."
        )
    return Table("Results", columns, lines, notes)


def format_few_clips(result: FewClipsResult) -> str:
    """The table for a terminal."""
    return format_text_table(few_clips_table(result))


def _train(
    config: FewClipsConfig,
    clips: FewClips,
    folder: pathlib.Path,
    seed: int,
    num_all: int,
    execution: Execution | None,
) -> dict[str, float]:
    """Row -> top-1, of one draw of clips; none of rows that lack clips to learn from."""
    rows = tuple(
        row
        for row in config.selected_rows
        if clips.unlabelled is not None or not any(NETWORKS[n].unlabelled for n in row.networks)
    )
    if not rows:
        return {}
    ((backbone, kinds),) = config.settings.items()
    longer = {kind: _with_steps(one, num_all, clips.num_labelled) for kind, one in kinds.items()}
    by_backbone = {backbone: rows}
    plan = plan_runs(
        by_backbone,
        {backbone: longer},
        (seed,),
        initial=config.initial,
        start=config.start,
        student_start=config.student_start,
    )
    workspace = Workspace(folder)
    done = [
        run.name
        for run, _ in run_plan(
            plan,
            workspace,
            os.fspath(clips.labelled),
            split="test",
            views=config.views,
            unlabelled=clips.unlabelled,
            execution=execution or Execution(),
        )
    ]
    return {
        result.row.name: top_k_accuracy(scores.logits, scores.labels, 1)
        for result in collect_results(by_backbone, (seed,), workspace, done)
        for scores in result.scores.values()
    }


def _with_steps(config: ExperimentConfig, num_all: int, num_clips: int) -> ExperimentConfig:
    """About as many steps on `num_clips` as the configuration has on `num_all`."""
    # Of fewer clips than a batch, an epoch is a batch.
    whole, few = (max(number, config.train.batch_size) for number in (num_all, num_clips))
    epochs = max(1, round(config.train.epochs * whole / few))
    return config.replace(train=dataclasses.replace(config.train, epochs=epochs))


def _write(result: FewClipsResult, folder: pathlib.Path, command: str) -> pathlib.Path:
    table = few_clips_table(result)
    titles = {row.name: row.title for row in result.config.selected_rows}
    series = {
        titles[row]: (
            [float(place) for place, count in enumerate(result.config.counts) if count in by_count],
            [100 * by_count[count].mean for count in result.config.counts if count in by_count],
        )
        for row, by_count in result.top1.items()
    }
    chart = Chart(
        "Top-1 by labelled clips of each class",
        "labelled clips of each class",
        "top-1 in percent",
        series,
        x_ticks={float(i): format_count(count) for i, count in enumerate(result.config.counts)},
    )
    report = Report(
        title="Few labelled clips",
        summary=[
            f"Networks trained on a few clips of each class of {result.dataset}. Teachers see the "
            "labelled clips only; the student of unlabelled clips also sees the other training "
            "clips, whose labels nothing looks at.",
        ],
        num_classes=1,
        tables=[table],
        charts=[chart],
        settings={"preset": result.config.preset},
        commands=[("The command that made this; rerun it to resume:", command)] if command else [],
    )
    (folder / "results.json").write_text(json.dumps(_as_json(result), indent=2) + "\n")
    write_markdown(report, folder / "report.md")
    return write_report(report, folder / "report.html")


def _as_json(result: FewClipsResult) -> dict[str, Any]:
    return {
        "preset": result.config.preset,
        "dataset": result.dataset,
        "num_test": result.num_test,
        "seeds": list(result.config.seeds),
        "top1": {
            row: {format_count(count): list(spread.values) for count, spread in by_count.items()}
            for row, by_count in result.top1.items()
        },
        "perfnet_tf": __version__,
    }


def parse_counts(words: Sequence[str]) -> tuple[int | None, ...]:
    """Numbers of clips, or `all`.

    Raises:
        InputError: something else, or a number below 1.
    """
    counts: list[int | None] = []
    for word in words:
        if word != "all" and not (word.isdecimal() and int(word)):
            raise InputError(
                f"Numbers of labelled clips are 1 or greater, or all. Received: {', '.join(words)}."
            )
        counts.append(None if word == "all" else int(word))
    return tuple(counts)
