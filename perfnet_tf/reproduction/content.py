"""What a table's report says: the results, every class, the curves and the settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from perfnet_tf.config import ClipConfig, DistillConfig, ExperimentConfig, TrainConfig
from perfnet_tf.distill.losses import FEATURE_PREFIX, TERM_PREFIXES, UNIFIED
from perfnet_tf.evaluation import metrics
from perfnet_tf.reporting.html import Chart, Table, wilson_interval
from perfnet_tf.reproduction.formatting import (
    SPACE,
    format_figure,
    format_percent,
    format_points,
    format_spread,
)
from perfnet_tf.reproduction.plan import Workspace, run_name
from perfnet_tf.reproduction.results import Reproduction, mean_history
from perfnet_tf.reproduction.tables import BACKBONE_TITLES
from perfnet_tf.streams import FLOW, POSE
from perfnet_tf.training.run_identity import FREE
from perfnet_tf.training.sources import describe

#: Most classes in the report's table of gains: the largest and the smallest; all are in the CSV.
_MOST_CLASSES = 30
#: Settings of the training that every report states; of the others those that were changed.
_STATED = (
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup_epochs",
    "momentum",
    "mirror",
    "precision",
    "seed",
)
#: What the names of terms between student and teachers begin with -> what they are.
_TERMS = {
    TERM_PREFIXES["squared_error"]: "Squared error against {} logits",
    TERM_PREFIXES["standardized"]: "Squared error against {} standardised logits",
    TERM_PREFIXES["kl"]: "Divergence from {} probabilities",
    FEATURE_PREFIX: "Squared error against {} pooled features",
}
#: What those names end with -> whose it is.
_TEACHERS = {
    FLOW: "the flow teacher's",
    POSE: "the pose teacher's",
    UNIFIED: "the teachers' summed",
}


def summary(reproduction: Reproduction) -> list[str]:
    """What was measured on what, and how the paper's figures are to be read."""
    clips = reproduction.results[0].num_clips
    classes = len(reproduction.results[0].classes)
    done = sorted({seed for result in reproduction.results for seed in result.seeds})
    lines = [
        f"Networks trained on {reproduction.num_train} clips of {reproduction.dataset} and "
        f"measured on {clips} clips of its split {reproduction.split}, {classes} classes, "
        f"{_views_text(reproduction.views)}. Guessing gives "
        f"{format_percent(1 / classes)} top-1. {len(done)} of {len(reproduction.seeds)} seeds are "
        f"done: {', '.join(map(str, done))}.",
    ]
    if reproduction.table.dataset:
        lines.append(
            f"The paper's figures are of {reproduction.table.dataset}, with networks and a "
            "training that ours have only under the preset paper: they say in which direction and "
            "how far the rows differ there, not what to expect here."
        )
    if reproduction.split == "val":
        lines.append(
            "These clips serve for choosing settings. What was chosen on them is measured on test "
            "clips that took no part in it."
        )
    return [*lines, *reproduction.notes]


def _views_text(views: tuple[int, int]) -> str:
    windows, crops = views
    if views == (1, 1):
        return "one central crop a clip"
    crops_text = "the central crop" if crops == 1 else f"{crops} crops"
    windows_text = "of the central window" if windows == 1 else f"in each of {windows} windows"
    return f"by the mean of the logits of {crops_text} {windows_text}"


def results_table(reproduction: Reproduction) -> Table:
    """The paper's figures and ours, row by row."""
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
        *(f"paper, {BACKBONE_TITLES[backbone]}" for backbone in stated),
        "our top-1",
        "our top-5",
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
        cells += [format_figure(result.row.paper.get(backbone)) for backbone in stated]
        cells += [format_spread(result.top1), format_spread(result.top5)]
        if compared:
            baseline = reproduction.baseline_of(result)
            gain = result.gain_over(baseline) if baseline else None
            cells.append("" if gain is None else format_spread(gain, signed=True))
        rows.append([*cells, str(len(result.seeds)), str(result.num_clips)])
    clips = reproduction.results[0].num_clips
    low, high = wilson_interval(0.5, clips)
    paper, ours = ("Paper: top-1, top-5. ", "Ours: mean") if stated else ("", "Mean")
    gains = " Over RGB: the difference of top-1 in points, seed by seed." if compared else ""
    notes = [
        f"In percent. {paper}{ours} and standard deviation over the seeds (of the sample; none for "
        f"one seed).{gains}",
        f"The deviation says how much the training's chance moves the figure. That of choosing "
        f"these {clips} clips comes on top: a share of 50{SPACE}% of them has a 95{SPACE}% "
        f"interval of {format_percent(low)} to {format_percent(high)} (Wilson).",
    ]
    return Table("Results", columns, rows, notes)


def class_tables(reproduction: Reproduction) -> list[Table]:
    """For each backbone: every class's accuracy of the baseline, and the others' gain over it."""
    tables = []
    table = reproduction.table
    for backbone in reproduction.backbones:
        results = [r for r in reproduction.results if r.backbone == backbone]
        baseline = next((r for r in results if r.row.name == table.baseline), None)
        others = [r for r in results if r is not baseline]
        # Fusions last: what one reads first is what each network adds.
        others.sort(key=lambda r: r.is_fusion)
        if baseline is None or not others:
            continue
        right = metrics.per_class_accuracy(baseline.confusion)
        gains = [metrics.per_class_accuracy(r.confusion) - right for r in others]
        clips = baseline.confusion.sum(axis=1) // len(baseline.seeds)
        names = [r.row.name for r in others]
        sorted_by = names.index(table.highlight) if table.highlight in names else len(names) - 1
        order = [i for i in np.argsort(-gains[sorted_by], kind="stable") if clips[i]]
        shown = order
        if len(order) > _MOST_CLASSES:
            half = _MOST_CLASSES // 2
            shown = [*order[:half], *order[-half:]]
        rows = [
            [
                baseline.classes[i],
                str(clips[i]),
                format_percent(right[i]),
                *(format_points(gain[i]) for gain in gains),
            ]
            for i in shown
        ]
        name = BACKBONE_TITLES.get(backbone, backbone)
        suffix = f", {name}" if len(reproduction.backbones) > 1 else ""
        notes = [
            "Means over the seeds; gains in points. The classes are ordered by the gain of "
            f"{others[sorted_by].row.title}."
        ]
        if len(order) > len(shown):
            notes.append(f"{len(order)} classes; all are in per_class.csv.")
        tables.append(
            Table(
                f"Gain over RGB, class by class{suffix}",
                ["class", "clips", baseline.row.title, *(r.row.title for r in others)],
                rows,
                notes,
            )
        )
    return tables


def charts(reproduction: Reproduction, workspace: Workspace) -> list[Chart]:
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
    drawn = []
    for column, title, unit, factor in (
        ("cross_entropy", "Cross-entropy of the labels, training clips", "nats", 1),
        ("top1", "Top-1 of the training clips, as they were cut and coloured", "percent", 100),
        ("val_top1", "Top-1 of the validation clips", "percent", 100),
        *(
            (f"{prefix}{teacher}", title.format(whose), "", 1)
            for prefix, title in _TERMS.items()
            for teacher, whose in _TEACHERS.items()
        ),
    ):
        series = {
            name: (history["epoch"], [factor * value for value in history[column]])
            for name, history in histories.items()
            if column in history
        }
        if series:
            drawn.append(Chart(title, "epoch", unit, series))
    return drawn


def settings(reproduction: Reproduction) -> dict[str, str]:
    """What decided the runs: common settings once, what differs for each kind of network."""
    configs: dict[str, dict[str, Any]] = {}
    for run in reproduction.plan:
        key = f"{BACKBONE_TITLES.get(run.backbone, run.backbone)} {run.network.kind}"
        configs.setdefault(key, _flat_settings(run.config))
    common = {
        name: value
        for name, value in next(iter(configs.values())).items()
        if all(config.get(name) == value for config in configs.values())
    }
    shown = {
        "preset": reproduction.preset,
        "data": f"{reproduction.dataset}: {reproduction.num_train} training clips, measured on "
        f"{reproduction.split}",
        "seeds": ", ".join(map(str, reproduction.seeds)),
        **{name: str(value) for name, value in common.items()},
    }
    for key, config in configs.items():
        for name, value in config.items():
            if name not in common:
                shown[f"{name} ({key})"] = str(value)
    many = len(reproduction.backbones) > 1
    for run in reproduction.plan:
        if run.config.distill is not None:
            backbone = f"{BACKBONE_TITLES.get(run.backbone, run.backbone)} " if many else ""
            name = f"teachers of {backbone}{run.network.name.replace('_', ' ')}"
            shown[name] = _distillation(run.config.distill)
    initial = {describe(run.initial) for run in reproduction.plan if run.initial is not None}
    if initial:
        shown["first weights"] = ", ".join(sorted(initial))
    if any(run.start is not None for run in reproduction.plan):
        shown["first weights of students"] = "the pose network's of their seed"
    return shown


def _flat_settings(config: ExperimentConfig) -> dict[str, Any]:
    train, model = config.train, config.model
    values: dict[str, Any] = {
        "training clip": _clip(config.clip),
        "evaluation clip": _clip(config.resolved_eval_clip),
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
    for name, value in _changed(train, TrainConfig()).items():
        if name not in _STATED and f"train.{name}" not in FREE:
            values[name.replace("_", " ")] = value
    return values


def _distillation(config: DistillConfig) -> str:
    """Weights, and what else differs from Eq. 1."""
    weights = ", ".join(f"{name}={value:g}" for name, value in config.teacher_weights.items())
    changed = _changed(config, DistillConfig(teacher_weights=config.teacher_weights))
    others = ", ".join(f"{name}={value}" for name, value in changed.items())
    return "; ".join(filter(None, [f"weights {weights or 1}", others]))


def _changed(config: Any, usual: Any) -> dict[str, Any]:
    """Attributes of a configuration that are not as in `usual`."""
    return {
        field.name: value
        for field in dataclasses.fields(config)
        if (value := getattr(config, field.name)) != getattr(usual, field.name)
    }


def _clip(clip: ClipConfig) -> str:
    return f"{clip}, frame stride {clip.frame_stride}, short side {clip.resized_short_side}"
