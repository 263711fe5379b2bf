"""`report.html`, `report.md`, `results.json` and `per_class.csv` of a reproduced table."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.evaluation import metrics
from perfnet_tf.evaluation.confusion_plot import save_confusion
from perfnet_tf.evaluation.report import (
    Chart,
    Picture,
    Report,
    draw_chart,
    wilson_interval,
    write_report,
)
from perfnet_tf.evaluation.report import Table as TextTable
from perfnet_tf.reproduction.markdown import write_markdown
from perfnet_tf.reproduction.plan import PlannedRun, Workspace, run_name
from perfnet_tf.reproduction.results import RowResult, Spread, mean_history
from perfnet_tf.reproduction.tables import BACKBONE_TITLES, Figure, Table
from perfnet_tf.version import __version__

#: Most classes in the report's table of gains: the largest and the smallest; all are in the CSV.
_MOST_CLASSES = 30
#: Most classes of a confusion matrix in the report.
_MOST_CONFUSED = 120
_SPACE = "\N{NO-BREAK SPACE}"
_MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, eq=False)
class Reproduction:
    """What a report tells of.

    Attributes:
        table: of the paper.
        preset: that the settings began with.
        dataset: name of the data.
        split: that was measured on.
        num_train: training clips.
        seeds: that were asked for.
        plan: the runs.
        results: see `RowResult`.
        notes: sentences on the data: missing clips, other counts than the official ones.
        command: shell command that made it.
    """

    table: Table
    preset: str
    dataset: str
    split: str
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


def write_table_report(reproduction: Reproduction, workspace: Workspace) -> pathlib.Path:
    """Writes the report's files into the table's folder; returns the path of `report.html`."""
    folder = workspace.table(reproduction.table.name)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    charts = _charts(reproduction, workspace)
    figures = {}
    for number, chart in enumerate(charts, start=1):
        path = folder / "figures" / f"curves_{number}.png"
        path.write_bytes(draw_chart(chart))
        figures[chart.title] = path.relative_to(folder).as_posix()
    pictures = []
    for result in reproduction.results:
        if len(result.classes) > _MOST_CONFUSED:
            continue
        path = folder / "figures" / f"confusion_{result.backbone}_{result.row.name}.png"
        save_confusion(path, result.confusion, result.classes)
        caption = f"{_title(result)}: clips of {_seeds(result)}"
        figures[caption] = path.relative_to(folder).as_posix()
        if not result.is_fusion:
            image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
            pictures.append(Picture(image.astype(np.uint8), caption))
    _write_per_class(folder / "per_class.csv", reproduction)
    content = json.dumps(as_json(reproduction), indent=2) + "\n"
    (folder / "results.json").write_text(content)
    report = Report(
        title=reproduction.table.title,
        summary=_summary(reproduction),
        num_classes=len(reproduction.results[0].classes),
        tables=[_results_table(reproduction), *_class_tables(reproduction)],
        charts=charts,
        pictures=pictures,
        pictures_title="Confusion matrices",
        settings=_settings(reproduction),
        commands=[("What made this, and goes on with it:", reproduction.command)],
    )
    write_markdown(report, folder / "report.md", figures)
    return write_report(report, folder / "report.html")


def as_json(reproduction: Reproduction) -> dict[str, Any]:
    """The numbers, for programs: shares in [0, 1]; the paper's figures in percent, as printed."""
    rows = []
    for result in reproduction.results:
        baseline = reproduction.baseline_of(result)
        gain = result.gain_over(baseline) if baseline else None
        rows.append(
            {
                "row": result.row.name,
                "title": result.row.title,
                "backbone": result.backbone,
                "seeds": list(result.seeds),
                "num_clips": result.num_clips,
                "top1": _spread_json(result.top1),
                "top5": _spread_json(result.top5),
                "gain": _spread_json(gain),
                "paper": {
                    backbone: {"top1": figure.top1, "top5": figure.top5}
                    for backbone, figure in result.row.paper.items()
                },
            }
        )
    return {
        "table": reproduction.table.name,
        "preset": reproduction.preset,
        "dataset": reproduction.dataset,
        "split": reproduction.split,
        "num_train": reproduction.num_train,
        "seeds": list(reproduction.seeds),
        "rows": rows,
        "notes": list(reproduction.notes),
        "perfnet_tf": __version__,
    }


def format_results(reproduction: Reproduction) -> str:
    """The results as lines of text for a terminal."""
    table = _results_table(reproduction)
    widths = [
        max(len(row[column]) for row in (table.columns, *table.rows) if len(row) > column)
        for column in range(len(table.columns))
    ]
    lines = []
    for row in (table.columns, *table.rows):
        first = f"{row[0]:<{widths[0]}}"
        others = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join([first, *others]).rstrip().replace(_SPACE, " "))
    return "\n".join(lines)


def _summary(reproduction: Reproduction) -> list[str]:
    clips = reproduction.results[0].num_clips
    classes = len(reproduction.results[0].classes)
    done = sorted({seed for result in reproduction.results for seed in result.seeds})
    lines = [
        f"Networks trained on {reproduction.num_train} clips of {reproduction.dataset} and "
        f"measured on {clips} clips of its split {reproduction.split}, {classes} classes, one "
        "central crop a clip. Guessing gives "
        f"{_percent(1 / classes)} top-1. {len(done)} of {len(reproduction.seeds)} seeds are done: "
        f"{', '.join(map(str, done))}.",
        f"The paper's figures beside ours are of {reproduction.table.dataset}, with networks and a "
        "training that ours have only under the preset paper: they say in which direction and "
        "how far the rows differ there, not what to expect here.",
    ]
    if reproduction.split == "val":
        lines.append(
            "These clips serve for choosing settings. What was chosen on them is measured on test "
            "clips that took no part in it."
        )
    return [*lines, *reproduction.notes]


def _results_table(reproduction: Reproduction) -> TextTable:
    exact = reproduction.preset == "paper"
    stated = tuple(
        backbone
        for backbone in ("s3d_g", "r3d50_g")
        if any(backbone in result.row.paper for result in reproduction.results)
        and (not exact or backbone in reproduction.backbones)
    )
    compared = any(reproduction.baseline_of(result) for result in reproduction.results)
    columns = [
        "",
        *(f"paper, {BACKBONE_TITLES[backbone]}: top-1, top-5" for backbone in stated),
        "ours: top-1",
        "top-5",
        *(["over RGB"] if compared else []),
        "seeds",
        "clips",
    ]
    rows: list[list[str]] = []
    heading = None
    for result in reproduction.results:
        name = BACKBONE_TITLES.get(result.backbone, result.backbone)
        parts = [name if len(reproduction.backbones) > 1 else "", result.row.group]
        new = ": ".join(part for part in parts if part)
        if new != heading:
            heading = new
            rows += [[heading]] if heading else []
        cells = [result.row.title]
        cells += [_figure(result.row.paper.get(backbone)) for backbone in stated]
        cells += [_spread(result.top1), _spread(result.top5)]
        if compared:
            baseline = reproduction.baseline_of(result)
            gain = result.gain_over(baseline) if baseline else None
            cells.append("" if gain is None else _spread(gain, signed=True))
        rows.append([*cells, str(len(result.seeds)), str(result.num_clips)])
    clips = reproduction.results[0].num_clips
    low, high = wilson_interval(0.5, clips)
    notes = [
        "Ours: mean and standard deviation over the seeds (of the sample; none for one seed), in "
        "percent; over RGB: the difference in points, seed by seed.",
        f"The deviation says how much the training's chance moves the figure. That of choosing "
        f"these {clips} clips comes on top: a share of 50{_SPACE}% of them has a 95{_SPACE}% "
        f"interval of {_percent(low)} to {_percent(high)} (Wilson).",
    ]
    return TextTable("Results", columns, rows, notes)


def _class_tables(reproduction: Reproduction) -> list[TextTable]:
    """For each backbone: every class's accuracy of the baseline, and the others' gain over it."""
    tables = []
    for backbone in reproduction.backbones:
        results = [r for r in reproduction.results if r.backbone == backbone]
        baseline = next((r for r in results if r.row.name == reproduction.table.baseline), None)
        others = [r for r in results if r is not baseline]
        # Fusions last: what one reads first is what each network adds.
        others.sort(key=lambda r: r.is_fusion)
        if baseline is None or not others:
            continue
        right = metrics.per_class_accuracy(baseline.confusion)
        gains = [metrics.per_class_accuracy(r.confusion) - right for r in others]
        clips = baseline.confusion.sum(axis=1) // len(baseline.seeds)
        order = [i for i in np.argsort(-gains[-1], kind="stable") if clips[i]]
        shown = order
        if len(order) > _MOST_CLASSES:
            half = _MOST_CLASSES // 2
            shown = [*order[:half], *order[-half:]]
        rows = [
            [
                baseline.classes[i],
                str(clips[i]),
                _percent(right[i]),
                *(_points(gain[i]) for gain in gains),
            ]
            for i in shown
        ]
        name = BACKBONE_TITLES.get(backbone, backbone)
        suffix = f", {name}" if len(reproduction.backbones) > 1 else ""
        notes = [
            "Means over the seeds; gains in points. The classes are ordered by the last column."
        ]
        if len(order) > len(shown):
            notes.append(f"{len(order)} classes; all are in per_class.csv.")
        tables.append(
            TextTable(
                f"Gain over RGB, class by class{suffix}",
                ["class", "clips", baseline.row.title, *(r.row.title for r in others)],
                rows,
                notes,
            )
        )
    return tables


def _charts(reproduction: Reproduction, workspace: Workspace) -> list[Chart]:
    """Curves of every network, the mean over the seeds."""
    histories: dict[str, dict[str, list[float]]] = {}
    many = len(reproduction.backbones) > 1
    for backbone in reproduction.backbones:
        networks = dict.fromkeys(
            run.network.name for run in reproduction.plan if run.backbone == backbone
        )
        for network in networks:
            names = [run_name(network, backbone, seed) for seed in reproduction.seeds]
            history = mean_history(workspace, names)
            if history:
                prefix = f"{BACKBONE_TITLES.get(backbone, backbone)} " if many else ""
                histories[prefix + network.replace("_", " ")] = history
    charts = []
    for column, title, unit, factor in (
        ("cross_entropy", "Cross-entropy of the labels, training clips", "nats", 1),
        ("top1", "Top-1 of the training clips, as they were cut and coloured", "percent", 100),
        ("val_top1", "Top-1 of the validation clips", "percent", 100),
        ("mse_flow", "Squared error against the flow teacher's logits", "", 1),
        ("mse_pose", "Squared error against the pose teacher's logits", "", 1),
        ("mse_unified", "Squared error against the sum of the teachers' logits", "", 1),
    ):
        series = {
            name: (history["epoch"], [factor * value for value in history[column]])
            for name, history in histories.items()
            if column in history
        }
        if series:
            charts.append(Chart(title, "epoch", unit, series))
    return charts


def _settings(reproduction: Reproduction) -> dict[str, str]:
    """What decided the runs: common settings once, what differs for each kind of network."""
    configs: dict[str, dict[str, Any]] = {}
    for run in reproduction.plan:
        key = f"{BACKBONE_TITLES.get(run.backbone, run.backbone)} {run.network.kind}"
        configs.setdefault(key, _flat_settings(run.config))
    common = {
        name: value
        for name, value in next(iter(configs.values())).items()
        if all(config.get(name, value) == value for config in configs.values())
    }
    settings = {
        "preset": reproduction.preset,
        "data": f"{reproduction.dataset}: {reproduction.num_train} training clips, measured on "
        f"{reproduction.split}",
        "seeds": ", ".join(map(str, reproduction.seeds)),
        **{name: str(value) for name, value in common.items()},
    }
    for key, config in configs.items():
        for name, value in config.items():
            if name not in common:
                settings[f"{name} ({key})"] = str(value)
    initial = {run.initial for run in reproduction.plan if run.initial}
    if initial:
        settings["first weights"] = ", ".join(sorted(initial))
    return settings


def _flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    train, model = config.train, config.model
    values = {
        "training clip": f"{config.clip}, every {config.clip.frame_stride}. frame, short side "
        f"{config.clip.resized_short_side}",
        "evaluation clip": f"{config.resolved_eval_clip}, every "
        f"{config.resolved_eval_clip.frame_stride}. frame",
        "width multiplier": model.width_multiplier,
        "dropout": model.dropout_rate,
        "weight decay": model.weight_decay,
        "network options": ", ".join(f"{k}={v}" for k, v in model.options.items()) or "none",
        "epochs": train.epochs,
        "batch": train.batch_size,
        "learning rate": f"{train.peak_learning_rate:g}",
        "warm-up epochs": f"{train.resolved_warmup_epochs:.3g}",
        "momentum": train.momentum,
        "mirroring": train.mirror,
        "precision": train.precision,
    }
    if config.distill is not None:
        weights = config.distill.teacher_weights
        values["teacher weights"] = ", ".join(f"{k}={v:g}" for k, v in weights.items()) or "1"
    return values


def _write_per_class(path: pathlib.Path, reproduction: Reproduction) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["backbone", "row", "class", "clips", "seeds", "accuracy"])
        for result in reproduction.results:
            confusion = result.confusion
            accuracy = metrics.per_class_accuracy(confusion)
            clips = confusion.sum(axis=1) // len(result.seeds)
            for i, name in enumerate(result.classes):
                share = f"{accuracy[i]:.4f}" if clips[i] else ""
                table.writerow(
                    [result.backbone, result.row.name, name, clips[i], len(result.seeds), share]
                )


def _title(result: RowResult) -> str:
    return f"{result.row.title} ({BACKBONE_TITLES.get(result.backbone, result.backbone)})"


def _seeds(result: RowResult) -> str:
    return f"{len(result.seeds)} seeds" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"


def _spread_json(spread: Spread | None) -> Mapping[str, Any] | None:
    if spread is None:
        return None
    return {"mean": spread.mean, "std": spread.deviation, "values": list(spread.values)}


def _spread(spread: Spread, *, signed: bool = False) -> str:
    mean = f"{100 * spread.mean:+.1f}" if signed else f"{100 * spread.mean:.1f}"
    text = mean.replace("-", _MINUS)
    if spread.deviation is None:
        return text
    return f"{text}{_SPACE}\N{PLUS-MINUS SIGN}{_SPACE}{100 * spread.deviation:.1f}"


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    return f"{figure.top1:.1f}" + ("" if figure.top5 is None else f", {figure.top5:.1f}")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}{_SPACE}%"


def _points(share: float) -> str:
    return f"{100 * share:+.0f}".replace("-", _MINUS).replace("+0", "0")
