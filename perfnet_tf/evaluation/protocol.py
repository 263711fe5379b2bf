"""Accuracy of trained networks on prepared records, one by one and fused.

PERF-Net Sec. 4: one central crop a video. Every network sees its own stream, cut to its own
evaluation clip, of the same stored videos; several are fused by the sum of their logits.

What `evaluate_runs` writes:

| file              | holds                                                                    |
|-------------------|--------------------------------------------------------------------------|
| `metrics.json`    | what it returns                                                          |
| `per_class.csv`   | clips, hits and accuracy of every class, and what it is mistaken for     |
| `predictions.csv` | label and answer for every clip                                          |
| `confusion.png`   | right classes down, answers across                                       |
| `logits.npz`      | `ClipScores`; of several networks, also `logits_NAME.npz` of each        |
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from perfnet_tf import features
from perfnet_tf.config import ClipConfig
from perfnet_tf.datasets.pipeline import build_dataset, damaged_shard_named, streams_of
from perfnet_tf.errors import InputError
from perfnet_tf.evaluation import metrics
from perfnet_tf.evaluation.confusion_plot import save_confusion
from perfnet_tf.evaluation.fusion import ClipScores, fuse
from perfnet_tf.records.schema import DatasetInfo, read_dataset_info
from perfnet_tf.training.run_directory import Run, load_run
from perfnet_tf.version import __version__


def evaluate_runs(
    runs: Sequence[Run | str | os.PathLike[str]],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    batch_size: int = 8,
    clip: ClipConfig | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluates runs on a split, and their late fusion if there are several.

    Args:
        runs: runs, or their folders.
        data: a prepared dataset with the runs' classes, in any order.
        output: folder for the files of the module's table, made if missing; None writes nothing.
        split: of the dataset.
        batch_size: clips at once.
        clip: what every network sees; None takes each run's own evaluation clip.
        progress: show it on standard error.

    Returns:
        `top1`, `top5`, `mean_class_accuracy` (in [0, 1]) and `num_clips`, of the fusion if there
        are several runs; `fusion` (`sum of logits` or None); `runs`, the same four for each with
        its `name`, `path`, `stream`, `backbone` and `clip`; `dataset`, `split`, `num_failed` (clips
        of the dataset, all splits, that could not be read and so are missing), `perfnet_tf`.

    Raises:
        InputError: no such split, a damaged shard, records without a run's stream, a run without
            weights or with other classes, logits that are not finite.
    """
    if not runs:
        raise InputError("Evaluation needs at least one run. Received: none.")
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or greater. Received: {batch_size}.")
    data = os.fspath(data)  # may be remote, which a pathlib.Path is not
    info = read_dataset_info(data)
    info.split(split)
    loaded = [run if isinstance(run, Run) else load_run(pathlib.Path(run)) for run in runs]
    for run in loaded:
        _check_classes(run, info)
    clips = [clip or run.config.resolved_eval_clip for run in loaded]
    with damaged_shard_named(data, split):
        scores = _score(loaded, clips, data, info, split, batch_size, progress)
    fused = fuse(scores)
    names = _unique_names(loaded)
    result = {
        **metrics.accuracy_summary(fused.logits, fused.labels),
        "fusion": "sum of logits" if len(loaded) > 1 else None,
        "runs": [
            {
                "name": name,
                "path": str(run.path),
                "stream": run.config.stream,
                "backbone": run.config.model.backbone,
                "clip": str(cut),
                "frame_stride": cut.frame_stride,
                "short_side": cut.resized_short_side,
                **metrics.accuracy_summary(one.logits, one.labels),
            }
            for name, run, cut, one in zip(names, loaded, clips, scores, strict=True)
        ],
        "dataset": info.name,
        "split": split,
        "num_failed": info.num_failed,
        "perfnet_tf": __version__,
    }
    if output is not None:
        _write(pathlib.Path(output), result, fused, dict(zip(names, scores, strict=True)))
    return result


def _score(
    runs: Sequence[Run],
    clips: Sequence[ClipConfig],
    data: str,
    info: DatasetInfo,
    split: str,
    batch_size: int,
    progress: bool,
) -> list[ClipScores]:
    """The scores of each run, in the dataset's order of clips and classes."""
    total = info.split(split)["num_clips"] * len(set(clips))
    scores: dict[int, ClipScores] = {}
    with tqdm(
        total=total,
        desc=f"evaluate {split}",
        unit="clip",
        disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else 10,  # a log file keeps every update
    ) as bar:
        # Runs with the same clip share one pass: decoding is a large part of the work.
        for cut in dict.fromkeys(clips):
            members = {i: run for i, run in enumerate(runs) if clips[i] == cut}
            parts: dict[int, list[np.ndarray]] = {i: [] for i in members}
            labels, clip_ids = [], []
            for batch, logits in _logits(members, data, split, cut, batch_size):
                labels.append(batch[features.LABEL].numpy())
                clip_ids += [name.decode() for name in batch[features.CLIP_ID].numpy()]
                for i, value in logits.items():
                    parts[i].append(value.numpy())
                bar.update(len(labels[-1]))
            for i, run in members.items():
                columns = [run.classes.index(name) for name in info.classes]
                values = np.concatenate(parts[i])[:, columns]
                scores[i] = ClipScores(
                    tuple(clip_ids), np.concatenate(labels), values, info.classes
                )
    return [scores[i] for i in range(len(runs))]


def _logits(
    members: Mapping[int, Run],
    data: str,
    split: str,
    cut: ClipConfig,
    batch_size: int,
) -> Iterator[tuple[dict[str, tf.Tensor], dict[int, tf.Tensor]]]:
    """Every batch with its labels, and the logits float32 [batch, classes] of each member."""
    streams = sorted({run.config.stream for run in members.values()})
    dataset = build_dataset(
        data,
        split,
        clip=cut,
        streams=streams,
        batch_size=batch_size,
        training=False,
        with_clip_ids=True,
    )
    spec = {
        key: value
        for key, value in dataset.element_spec.items()
        if key not in (features.LABEL, features.CLIP_ID)
    }

    # With this signature the last, smaller batch is not traced again.
    @tf.function(input_signature=[spec], autograph=False)
    def predict(sources: dict[str, tf.Tensor]) -> dict[int, tf.Tensor]:
        logits = {}
        for i, run in members.items():
            stream = run.config.stream
            seen = streams_of(sources, [stream], run.config.pose_render)
            logits[i] = run.model(seen[stream], training=False)
        return logits

    for batch in dataset:
        yield batch, predict({key: batch[key] for key in spec})


def _check_classes(run: Run, info: DatasetInfo) -> None:
    if set(run.classes) == set(info.classes):
        return
    missing = [name for name in info.classes if name not in run.classes]
    extra = [name for name in run.classes if name not in info.classes]
    raise InputError(
        "A run is evaluated on data with its own classes. "
        f"Received: {run.path} has {len(run.classes)} classes, {info.name} has {info.num_classes}; "
        f"not in the run: {', '.join(missing[:3]) or 'none'}; "
        f"not in the data: {', '.join(extra[:3]) or 'none'}. "
        "Fine-tune the run on this data first: perfnet finetune."
    )


def _unique_names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, numbered where two are the same."""
    names: list[str] = []
    for run in runs:
        name = base = run.path.resolve().name
        number = 2
        while name in names:
            name, number = f"{base}_{number}", number + 1
        names.append(name)
    return names


def _write(
    output: pathlib.Path, result: dict, fused: ClipScores, scores: Mapping[str, ClipScores]
) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"The output must be a folder. Received: {output}, a file.") from error
    confusion = metrics.confusion_matrix(fused.logits, fused.labels)
    _write_per_class(output / "per_class.csv", confusion, fused.classes)
    _write_predictions(output / "predictions.csv", fused)
    save_confusion(output / "confusion.png", confusion, fused.classes)
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


def _write_predictions(path: pathlib.Path, scores: ClipScores) -> None:
    answers = scores.logits.argmax(axis=1)
    ranks = metrics.label_ranks(scores.logits, scores.labels)
    probabilities = tf.nn.softmax(scores.logits).numpy()
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["clip_id", "label", "predicted", "probability", "rank_of_label"])
        for row, clip_id in enumerate(scores.clip_ids):
            table.writerow(
                [
                    clip_id,
                    scores.classes[scores.labels[row]],
                    scores.classes[answers[row]],
                    f"{probabilities[row, answers[row]]:.4f}",
                    ranks[row] + 1,
                ]
            )
