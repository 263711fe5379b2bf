"""Accuracy of trained networks on prepared records, one by one and fused.

PERF-Net Sec. 4: one central crop a video. Every network sees its own stream, cut to its own
evaluation clip, of the same stored videos; several are fused by the sum of their logits. Other
papers' protocol, several windows and crops per video, is available as well.

What `evaluate_runs` writes:

| file              | holds                                                                    |
|-------------------|--------------------------------------------------------------------------|
| `metrics.json`    | what it returns                                                          |
| `per_class.csv`   | clips, hits and accuracy of every class, and what it is mistaken for; of |
|                   | several labels per clip the average precision                            |
| `predictions.csv` | label and answer for every clip                                          |
| `confusion.png`   | right classes down, answers across; of one label per clip                |
| `logits.npz`      | `ClipScores`; of several networks, also `logits_NAME.npz` of each        |
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from perfnet_tf.classes import check_same_classes
from perfnet_tf.config import ClipConfig
from perfnet_tf.errors import InputError, check_whole
from perfnet_tf.evaluation import metrics
from perfnet_tf.evaluation.fusion import ClipScores, fuse
from perfnet_tf.files import check_local
from perfnet_tf.input_pipeline.augment import ClipView, evenly_spread_views
from perfnet_tf.input_pipeline.dataset import explaining_damaged_records
from perfnet_tf.label_kinds import MULTI_LABEL, SINGLE_LABEL
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.outputs import clip_bar, outputs_of_views
from perfnet_tf.recognizers.probabilities import probabilities_of
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.reporting.confusion_plot import save_confusion
from perfnet_tf.version import __version__


def evaluate_runs(
    runs: Sequence[Network],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    batch_size: int = 8,
    clip: ClipConfig | None = None,
    windows: int = 1,
    crops: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluates networks on a split, and their late fusion if there are several.

    Args:
        runs: runs, SavedModels, Hub handles, or whatever else `load` takes.
        data: a prepared dataset with the networks' classes, in any order.
        output: folder for the files of the module's table, made if missing; None writes nothing.
        split: of the dataset.
        batch_size: clips at once.
        clip: the clip for every network; None takes each network's evaluation clip.
        windows, crops: clips that a network sees of each video: so many windows, evenly from the
            first to the last place, each with so many crops along the frame. Their logits are
            averaged. 1 and 1 is the paper's protocol, the central window and crop.
        progress: show it on standard error.

    Returns:
        `top1`, `top5`, `mean_class_accuracy` (in [0, 1]) and `num_clips`, of the fusion if there
        are several runs; of several labels per clip, `mAP` in place of `mean_class_accuracy`.
        `fusion` (`sum of logits` or None); `runs`, the same four for each with its `name`, `path`,
        `stream`, `backbone` and `clip`; `windows`, `crops`, `dataset`, `split`, `num_failed` (clips
        of the dataset, all splits, that could not be read and so are missing), `perfnet_tf`.

    Raises:
        InputError: no such split, a damaged shard, records without a network's stream, a run
            without weights, a network that has other classes or does not say its classes or clip,
            an `output` that is a file or cannot be written to, logits that are not finite.
    """
    if not runs:
        raise InputError("Evaluation needs at least one network. Received: none.")
    check_whole(batch_size=batch_size, windows=windows, crops=crops)
    data = os.fspath(data)  # may be remote, which a pathlib.Path is not
    info = read_dataset_info(data)
    info.split(split)
    loaded = [load(run) for run in runs]
    for run in loaded:
        check_same_classes(
            run.known_classes(),
            info.classes,
            rule="A network is evaluated on data with its own classes.",
            subject=run.name,
            other=info.name,
            remedy="Fine-tune it on this data first: perfnet finetune.",
        )
    clips = [clip or run.expected_clip() for run in loaded]
    if output is not None:
        _make_folder(pathlib.Path(output))
    with explaining_damaged_records(data, split):
        views = evenly_spread_views(windows, crops)
        scores = _score(loaded, clips, views, data, info, split, batch_size, progress)
    fused = fuse(scores)
    names = _unique_names(loaded)
    result = {
        **metrics.accuracy_summary(fused.logits, fused.labels),
        "fusion": "sum of logits" if len(loaded) > 1 else None,
        "runs": [
            {
                "name": name,
                "path": run.source,
                "stream": run.stream,
                "backbone": run.backbone,
                "clip": str(cut),
                "frame_stride": cut.frame_stride,
                "short_side": cut.resized_short_side,
                **metrics.accuracy_summary(one.logits, one.labels),
            }
            for name, run, cut, one in zip(names, loaded, clips, scores, strict=True)
        ],
        "windows": windows,
        "crops": crops,
        "dataset": info.name,
        "split": split,
        "num_failed": info.num_failed,
        "perfnet_tf": __version__,
    }
    if output is not None:
        _write(pathlib.Path(output), result, fused, dict(zip(names, scores, strict=True)))
    return result


def _score(
    runs: Sequence[Recognizer],
    clips: Sequence[ClipConfig],
    views: Sequence[ClipView],
    data: str,
    info: DatasetInfo,
    split: str,
    batch_size: int,
    progress: bool,
) -> list[ClipScores]:
    """The scores of each run, means over the views, in the dataset's order of clips and classes."""
    total = info.split(split)["num_clips"] * len(set(clips)) * len(views)
    scores: dict[int, ClipScores] = {}
    with clip_bar(f"evaluate {split}", total, show=progress) as bar:
        # Runs with the same clip share one pass: decoding is a large part of the work.
        for cut in dict.fromkeys(clips):
            members = {i: run for i, run in enumerate(runs) if clips[i] == cut}
            seen = list(outputs_of_views(members, cut, views, data, split, batch_size, bar))
            labels, clip_ids, _ = seen[0]
            for i, run in members.items():
                columns = [run.known_classes().index(name) for name in info.classes]
                logits = np.stack([logits[i] for _, _, logits in seen])[..., columns].mean(axis=0)
                scores[i] = ClipScores(clip_ids, labels, logits, info.classes)
    return [scores[i] for i in range(len(runs))]


def _unique_names(runs: Sequence[Recognizer]) -> list[str]:
    """The folders' names, numbered where two are the same."""
    names: list[str] = []
    for run in runs:
        name = base = run.short_name
        number = 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _make_folder(output: pathlib.Path) -> None:
    """Makes the folder of the results: before anything is measured, which may take hours."""
    check_local(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"The output must be a folder. Received: {output}, a file.") from error
    except OSError as error:
        raise InputError(
            f"The output cannot be written to: {output} ({error.strerror})."
        ) from error


def _write(
    output: pathlib.Path,
    result: dict[str, Any],
    fused: ClipScores,
    scores: Mapping[str, ClipScores],
) -> None:
    if fused.labels.ndim == 2:
        _write_average_precisions(output / "per_class.csv", fused)
    else:
        confusion = metrics.confusion_matrix(fused.logits, fused.labels)
        _write_per_class(output / "per_class.csv", confusion, fused.classes)
        save_confusion(output / "confusion.png", confusion, fused.classes)
    _write_predictions(output / "predictions.csv", fused)
    fused.save(output / "logits.npz")
    if len(scores) > 1:
        for name, one in scores.items():
            one.save(output / f"logits_{name}.npz")
    (output / "metrics.json").write_text(json.dumps(result, indent=2) + "\n")


def _write_per_class(path: pathlib.Path, confusion: np.ndarray, classes: Sequence[str]) -> None:
    accuracy = metrics.per_class_accuracy(confusion)
    mistaken = confusion.copy()
    np.fill_diagonal(mistaken, 0)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["class", "num_clips", "correct", "accuracy", "mistaken_for", "mistakes"])
        for index, name in enumerate(classes):
            clips, worst = confusion[index].sum(), mistaken[index].argmax()
            mistakes = mistaken[index, worst]
            table.writerow(
                [
                    name,
                    clips,
                    confusion[index, index],
                    f"{accuracy[index]:.4f}" if clips else "",
                    classes[worst] if mistakes else "",
                    mistakes,
                ]
            )


def _write_average_precisions(path: pathlib.Path, scores: ClipScores) -> None:
    values = metrics.average_precisions(scores.logits, scores.labels)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["class", "num_clips", "average_precision"])
        for name, clips, value in zip(
            scores.classes, scores.labels.sum(axis=0), values, strict=True
        ):
            table.writerow([name, clips, f"{value:.4f}" if clips else ""])


def _write_predictions(path: pathlib.Path, scores: ClipScores) -> None:
    answers = scores.logits.argmax(axis=1)
    ranks = metrics.label_ranks(scores.logits, scores.labels)
    kind = MULTI_LABEL if scores.labels.ndim == 2 else SINGLE_LABEL
    probabilities = probabilities_of(tf.constant(scores.logits), kind).numpy()
    right = scores.label_names()
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["clip_id", "label", "predicted", "probability", "rank_of_label"])
        for row, clip_id in enumerate(scores.clip_ids):
            table.writerow(
                [
                    clip_id,
                    right[row],
                    scores.classes[answers[row]],
                    f"{probabilities[row, answers[row]]:.4f}",
                    ranks[row] + 1,
                ]
            )
