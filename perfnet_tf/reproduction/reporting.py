"""`report.html`, `report.md`, `results.json` and `per_class.csv` of a reproduced table."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from perfnet_tf.evaluation import metrics
from perfnet_tf.opencv import cv2
from perfnet_tf.reporting.confusion_plot import save_confusion
from perfnet_tf.reporting.html import Picture, Report, draw_chart, write_report
from perfnet_tf.reporting.markdown import write_markdown
from perfnet_tf.reproduction import content
from perfnet_tf.reproduction.formatting import format_text_table
from perfnet_tf.reproduction.plan import Workspace
from perfnet_tf.reproduction.results import Reproduction, RowResult, Spread
from perfnet_tf.reproduction.tables import BACKBONE_TITLES
from perfnet_tf.version import __version__

#: Most classes of a confusion matrix in the report.
_MOST_CONFUSED = 120


def write_table_report(reproduction: Reproduction, workspace: Workspace) -> pathlib.Path:
    """Writes the report's files into the table's folder; returns the path of `report.html`."""
    folder = workspace.table(reproduction.table.name)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    charts = content.charts(reproduction, workspace)
    figures = {}
    for number, chart in enumerate(charts, start=1):
        path = folder / "figures" / f"curves_{number}.png"
        path.write_bytes(draw_chart(chart))
        figures[chart.title] = path.relative_to(folder).as_posix()
    pictures = []
    for result in reproduction.results:
        if result.is_fusion or len(result.classes) > _MOST_CONFUSED:
            continue
        path = folder / "figures" / f"confusion_{result.backbone}_{result.row.name}.png"
        save_confusion(path, result.confusion, result.classes)
        caption = f"{_title(result)}: clips of {_seeds(result)}"
        figures[caption] = path.relative_to(folder).as_posix()
        pictures.append(Picture(_read_picture(path), caption))
    _write_per_class(folder / "per_class.csv", reproduction)
    numbers = json.dumps(as_json(reproduction), indent=2) + "\n"
    (folder / "results.json").write_text(numbers)
    report = Report(
        title=reproduction.table.title,
        summary=content.summary(reproduction),
        num_classes=len(reproduction.results[0].classes),
        tables=[content.results_table(reproduction), *content.class_tables(reproduction)],
        charts=charts,
        pictures=pictures,
        pictures_title="Confusion matrices",
        settings=content.settings(reproduction),
        commands=[
            ("The command that made this; rerun it to resume:", command)
            for command in (reproduction.command,)
            if command
        ],
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
        "views": list(reproduction.views),
        "num_train": reproduction.num_train,
        "seeds": list(reproduction.seeds),
        "rows": rows,
        "notes": list(reproduction.notes),
        "perfnet_tf": __version__,
    }


def format_results(reproduction: Reproduction) -> str:
    """The results as lines of text for a terminal."""
    return format_text_table(content.results_table(reproduction))


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


def _read_picture(path: pathlib.Path) -> npt.NDArray[np.uint8]:
    """uint8 RGB `[height, width, 3]`."""
    image = cv2.imread(str(path))
    if image is None:
        raise OSError(f"{path} was written just now, and cannot be read.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8)
