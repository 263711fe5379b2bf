"""What came out: a row's accuracies over the seeds, gains, confusions and curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perfnet_tf.evaluation import metrics
from perfnet_tf.evaluation.fusion import ClipScores, fuse
from perfnet_tf.recognizers.run_directory import HISTORY_FILE
from perfnet_tf.reproduction.plan import PlannedRun, Workspace, row_runs
from perfnet_tf.reproduction.runner import load_scores
from perfnet_tf.reproduction.tables import PaperRow, PaperTable
from perfnet_tf.training.history import read_history


@dataclass(frozen=True)
class Spread:
    """Values of several seeds.

    Attributes:
        values: one a seed.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the values."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the sample (n - 1); None of one value."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None


@dataclass(frozen=True, eq=False)
class RowResult:
    """One line of a table, as measured.

    Attributes:
        row: of the table.
        backbone: of its networks.
        scores: seed -> what the network, or the fused ones, said.
    """

    row: PaperRow
    backbone: str
    scores: Mapping[int, ClipScores]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are done."""
        return tuple(self.scores)

    @property
    def top1(self) -> Spread:
        """Share of clips whose class came first, in [0, 1]."""
        return self._spread(1)

    @property
    def top5(self) -> Spread:
        """Share of clips whose class came among the first five, in [0, 1]."""
        return self._spread(5)

    @property
    def num_clips(self) -> int:
        """Clips that each seed was measured on."""
        return len(next(iter(self.scores.values())).labels)

    @property
    def confusion(self) -> np.ndarray:
        """int64 `[classes, classes]`, right class by answer, summed over the seeds."""
        total: np.ndarray = np.sum(
            [metrics.confusion_matrix(s.logits, s.labels) for s in self.scores.values()], axis=0
        )
        return total

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return next(iter(self.scores.values())).classes

    @property
    def is_fusion(self) -> bool:
        """Whether several networks are summed."""
        return len(self.row.networks) > 1

    def gain_over(self, other: RowResult) -> Spread | None:
        """Difference of top-1 to another row, seed by seed; None without a common seed."""
        own = dict(zip(self.seeds, self.top1.values, strict=True))
        others = dict(zip(other.seeds, other.top1.values, strict=True))
        common = [seed for seed in own if seed in others]
        if not common:
            return None
        return Spread(tuple(own[seed] - others[seed] for seed in common))

    def _spread(self, k: int) -> Spread:
        return Spread(
            tuple(metrics.top_k_accuracy(s.logits, s.labels, k) for s in self.scores.values())
        )


@dataclass(frozen=True, eq=False)
class Reproduction:
    """Contents of a report.

    Attributes:
        table: of the paper.
        preset: that the settings began with.
        dataset: name of the data.
        split: that was measured on.
        views: windows, and crops of each, that were seen of every video.
        num_train: training clips.
        seeds: that were asked for.
        plan: the runs.
        results: see `RowResult`.
        notes: sentences on the data: missing clips, other counts than the official ones.
        command: shell command that made it.
    """

    table: PaperTable
    preset: str
    dataset: str
    split: str
    views: tuple[int, int]
    num_train: int
    seeds: Sequence[int]
    plan: Sequence[PlannedRun]
    results: Sequence[RowResult]
    notes: Sequence[str]
    command: str

    @property
    def backbones(self) -> tuple[str, ...]:
        """Of the results."""
        return tuple(dict.fromkeys(result.backbone for result in self.results))

    def result(self, row: str, backbone: str) -> RowResult | None:
        """The result of a row, if there is one."""
        matching = (r for r in self.results if r.row.name == row and r.backbone == backbone)
        return next(matching, None)

    def baseline_of(self, result: RowResult) -> RowResult | None:
        """What a result is compared with; None for the baseline itself."""
        baseline = self.table.baseline and self.result(self.table.baseline, result.backbone)
        return None if not baseline or baseline is result else baseline


def collect_results(
    rows: Mapping[str, Sequence[PaperRow]],
    seeds: Sequence[int],
    workspace: Workspace,
    finished: Iterable[str],
) -> tuple[RowResult, ...]:
    """Results of all rows that have at least one seed, in the order of backbones and rows.

    Args:
        rows: backbone -> rows.
        seeds: that are wanted.
        workspace: folders.
        finished: names of the runs that are trained and evaluated.
    """
    finished = set(finished)
    results = []
    for backbone, its_rows in rows.items():
        for row in its_rows:
            scores = {}
            for seed in seeds:
                names = row_runs(row, backbone, seeds, seed)
                if finished.issuperset(names):
                    scores[seed] = fuse([load_scores(workspace, name) for name in names])
            if scores:
                results.append(RowResult(row, backbone, scores))
    return tuple(results)


def mean_history(workspace: Workspace, names: Sequence[str]) -> dict[str, list[float]]:
    """Column of `history.csv` -> its mean over runs, epoch by epoch; NaN where none has a value.

    Runs of different lengths are cut to the shortest. Empty for runs without a history.

    Raises:
        InputError: a history is damaged.
    """
    tables = []
    for name in names:
        folder = workspace.run(name)
        if (folder / HISTORY_FILE).exists():
            tables.append(read_history(folder))
    if not tables or not min(map(len, tables)):
        return {}
    length = min(map(len, tables))
    result = {}
    for column in tables[0][0]:
        values = np.array(
            [[float(row.get(column) or "nan") for row in table[:length]] for table in tables]
        )
        there = ~np.isnan(values)
        counts = there.sum(axis=0)
        sums = np.where(there, values, 0).sum(axis=0)
        means = np.divide(sums, counts, out=np.full(length, np.nan), where=counts > 0)
        result[column] = means.tolist()
    return result
