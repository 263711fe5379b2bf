"""Table 4 where networks know Kinetics: what flow and pose teach a classifier on I3D's features.

    python tests/benchmarks/kinetics_distillation.py --data=data --features=features.npz

I3D with Kinetics weights sees each clip as RGB frames, as frames with people drawn on them, and as
flow (its first convolution then sums over the colours); it stays as it is. On the features of each
stream stands a softmax regression; students are such classifiers of RGB features that also match
their teachers. All clips of the data are answered once for each seed, in five folds of recordings,
by classifiers that were fitted to the other folds: their decay too is chosen there. A student is
paired with RGB clip by clip. `--labelled=2` labels two training clips of each class only: teachers
learn from those, and students from the teachers' answers to the others as well.

Teachers answer their own training clips as if there were no doubt. `held out` students learn from
what teachers say that were fitted to other clips.

Where only some clips have labels, a row has RGB's classifier fitted to the others as well, by what
it says of them, as `perfnet fit-classifier --unlabelled` does. `--pseudo_labels_only` leaves the
students out.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from perfnet_tf.config import ClipConfig
from perfnet_tf.datasets.groups import group_of
from perfnet_tf.input_pipeline.augment import evenly_spread_views
from perfnet_tf.models.factory import build_from_config
from perfnet_tf.models.folding import fold_batch_norm
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.outputs import clip_bar, outputs_of_views
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.records.folder import read_dataset_info, read_index
from perfnet_tf.streams import FEATURES
from perfnet_tf.training.classifier_fitting import fit_with_unlabelled
from perfnet_tf.training.decay_choice import choose_decay
from perfnet_tf.training.softmax_regression import (
    FeatureScaling,
    LinearClassifier,
    fit_softmax_regression,
)
from perfnet_tf.training.sources import copy_weights

STREAMS = ("rgb", "flow", "pose")
TEACHERS = ("flow", "pose")
FOLDS, INNER_FOLDS = 5, 4
#: Of a teacher's term, against a cross-entropy of weight 1.
WEIGHTS = (0.2, 1.0)

Logits = np.ndarray  # float64 [clips, classes]


@dataclass(frozen=True, eq=False)
class Clips:
    """All clips of a dataset.

    Attributes:
        features: stream -> float32 `[clips, channels]`.
        labels: int `[clips]`.
        groups: of each clip's recording, text `[clips]`.
        names: of each clip, text `[clips]`.
        classes: names in label order.
    """

    features: Mapping[str, np.ndarray]
    labels: np.ndarray
    groups: np.ndarray
    names: np.ndarray
    classes: tuple[str, ...]


def extractor(start: str, stream: str, num_classes: int) -> Recognizer:
    """From clips of a stream to the features of a network that starts from `start`."""
    source = load(start, trainable=True).run()
    config = source.config
    model = build_from_config(config.model, num_classes, stream)
    copy_weights(source, model, [str(label) for label in range(num_classes)])
    folded = fold_batch_norm(model)
    return Recognizer(
        lambda inputs: folded.endpoints(inputs)[FEATURES], stream, render=config.pose_render
    )


def read_clips(data: str, start: str, clip: ClipConfig, kept: pathlib.Path) -> Clips:
    """The clips, and their features, which are computed unless `kept` holds them."""
    info = read_dataset_info(data)
    entries = {split: list(read_index(data, split)) for split in info.splits}
    every = [entry for split in entries.values() for entry in split]
    if not kept.exists():
        found: dict[str, list[np.ndarray]] = {stream: [] for stream in STREAMS}
        networks = dict(enumerate(extractor(start, s, info.num_classes) for s in STREAMS))
        for split, some in entries.items():
            with clip_bar(split, len(some), show=True) as bar:
                views = evenly_spread_views(1, 1)
                ((_, _, outputs),) = outputs_of_views(networks, clip, views, data, split, 4, bar)
            for number, stream in enumerate(STREAMS):
                found[stream].append(outputs[number])
        np.savez(kept, **{stream: np.concatenate(values) for stream, values in found.items()})
    with np.load(kept, allow_pickle=False) as values:
        features = {stream: values[stream] for stream in STREAMS}
    return Clips(
        features,
        np.array([entry.label for entry in every]),
        np.array([group_of(entry, info.name) for entry in every]),
        np.array([entry.clip_id for entry in every]),
        info.classes,
    )


def fit_student(
    features: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    decay: float,
    teachers: Sequence[tuple[float, str, Logits]],
) -> Callable[[np.ndarray], Logits]:
    """The linear classifier that minimises Eq. 1, with decay, on features; as a function of them.

    Args:
        features: `[clips, channels]`, those with labels first.
        labels: int `[labelled]`.
        num_classes: number of classes.
        decay: of the parameters for features on one scale.
        teachers: weight, term (`squared_error` or `kl`) and logits of each, for all clips.
    """
    scaling = FeatureScaling.from_features(features)
    inputs = scaling.apply(features)
    wanted = np.eye(num_classes)[labels]
    soft = [(weight, term, logits, softmax(logits, axis=1)) for weight, term, logits in teachers]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        kernel = flat.reshape(-1, num_classes)
        logits = inputs @ kernel
        logs = log_softmax(logits, axis=1)
        slope = np.zeros_like(logits)
        known = slice(0, len(labels))
        value = -np.sum(wanted * logs[known]) / len(labels)
        slope[known] += (np.exp(logs[known]) - wanted) / len(labels)
        for weight, term, theirs, shares in soft:
            if term == "kl":
                value -= weight * np.sum(shares * logs) / len(inputs)
                slope += weight * (np.exp(logs) - shares) / len(inputs)
            else:
                value += weight * np.sum((logits - theirs) ** 2) / logits.size
                slope += weight * 2 * (logits - theirs) / logits.size
        value += decay / 2 * np.sum(flat**2)
        return value, (inputs.T @ slope + decay * kernel).ravel()

    start = np.zeros(inputs.shape[1] * num_classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return scaling.classifier(found.x.reshape(-1, num_classes)).logits


def draw_parts(clips: Clips, among: np.ndarray, number: int, seed: int) -> list[np.ndarray]:
    """Places of `among`, in parts that share no recording; each class is spread over all."""
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(number)]
    for label in np.unique(clips.labels[among]):
        own = among[clips.labels[among] == label]
        for position, group in enumerate(random.permutation(np.unique(clips.groups[own]))):
            parts[position % number] += own[clips.groups[own] == group].tolist()
    return [np.array(sorted(part), int) for part in parts]


def fit(clips: Clips, stream: str, seen: np.ndarray, decay: float) -> LinearClassifier:
    """A classifier without teachers, of the clips `seen`."""
    return fit_softmax_regression(
        clips.features[stream][seen], clips.labels[seen], len(clips.classes), decay=decay
    )


def held_out_answers(
    clips: Clips, stream: str, seen: np.ndarray, decay: float, seed: int
) -> Logits:
    """What classifiers say of the clips `seen` that were fitted to other recordings of them."""
    found = np.zeros([len(seen), len(clips.classes)])
    for part in draw_parts(clips, seen, INNER_FOLDS, seed):
        if len(part):
            classifier = fit(clips, stream, np.setdiff1d(seen, part), decay)
            found[np.searchsorted(seen, part)] = classifier.logits(clips.features[stream][part])
    return found


def decay_of(clips: Clips, stream: str, seen: np.ndarray, seed: int) -> float:
    """By recordings that are held out in turn; none are where a class has one clip alone."""
    parts: list[np.ndarray] = []
    if np.bincount(clips.labels[seen]).min() > 1:
        parts = draw_parts(clips, seen, INNER_FOLDS, seed)
    features, labels = clips.features[stream][seen], clips.labels[seen]
    folds = [np.searchsorted(seen, part) for part in parts if len(part)]
    return choose_decay(features[None], labels, len(clips.classes), folds)[0]


def answers_of_fold(
    clips: Clips,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
    labelled: int | None,
    pseudo_labels_only: bool,
) -> dict[str, Logits]:
    """Row -> logits of the test clips."""
    random = np.random.default_rng(seed)
    seen = train
    if labelled is not None:
        drawn = [
            random.permutation(train[clips.labels[train] == label])[:labelled]
            for label in range(len(clips.classes))
        ]
        seen = np.sort(np.concatenate(drawn))
    others = np.setdiff1d(train, seen)
    decays = {stream: decay_of(clips, stream, seen, seed) for stream in STREAMS}
    classifiers = {stream: fit(clips, stream, seen, decays[stream]) for stream in STREAMS}
    rows = {s: classifiers[s].logits(clips.features[s][test]) for s in STREAMS}
    rgb = clips.features["rgb"]
    if len(others):
        classifier, _ = fit_with_unlabelled(
            rgb[None, seen],
            clips.labels[seen],
            rgb[None, others],
            classifiers["rgb"],
            decay=decays["rgb"],
        )
        rows["rgb, also of clips without labels"] = classifier.logits(rgb[test])
    if pseudo_labels_only:
        return rows
    logs = {stream: log_softmax(rows[stream], axis=1) for stream in STREAMS}
    for fused in (("rgb", "flow"), ("rgb", "pose"), TEACHERS, STREAMS):
        rows[" + ".join(fused)] = np.sum([logs[stream] for stream in fused], axis=0)

    everything = np.concatenate([seen, others])
    usual = {s: classifiers[s].logits(clips.features[s][everything]) for s in STREAMS}
    held_out = {}
    if labelled != 1:  # else nothing of a class is left to be fitted to
        held_out = {
            s: np.concatenate(
                [held_out_answers(clips, s, seen, decays[s], seed + 1), usual[s][len(seen) :]]
            )
            for s in STREAMS
        }

    def student(name: str, teachers: Sequence[tuple[float, str, Logits]]) -> None:
        classify = fit_student(
            rgb[everything], clips.labels[seen], len(clips.classes), decays["rgb"], teachers
        )
        rows[f"student of {name}"] = classify(rgb[test])

    student("flow, 0.2", [(0.2, "squared_error", usual["flow"])])
    student("pose, 0.2", [(0.2, "squared_error", usual["pose"])])
    for weight in WEIGHTS:
        for said, what in ((usual, ""), (held_out, ", held out")):
            if said:
                both = [(weight, "squared_error", said[name]) for name in TEACHERS]
                student(f"both, {weight:g}{what}", both)
        summed = usual["flow"] + usual["pose"]
        student(f"both, unified, {weight:g}", [(weight, "squared_error", summed)])
    if held_out:
        student("both, divergence, 1, held out", [(1.0, "kl", held_out[name]) for name in TEACHERS])
        fusion = np.sum([log_softmax(held_out[s], axis=1) for s in STREAMS], axis=0)
        student("all three's fusion, divergence, 1, held out", [(1.0, "kl", fusion)])
    if len(others):
        student("itself, divergence, 1", [(1.0, "kl", usual["rgb"])])
    return rows


def print_rows(clips: Clips, answers: Sequence[Mapping[str, Logits]]) -> None:
    """A Markdown table: top-1 over seeds, and clips won from and lost to RGB."""
    print(f"| row | top-1 of {len(clips.labels)} clips | over RGB | won from RGB, lost to it |")
    print("|---|---|---|---|")
    right = {
        row: np.array([one[row].argmax(axis=1) == clips.labels for one in answers])
        for row in answers[0]
    }
    for row, hits in right.items():
        shares = 100 * hits.mean(axis=1)
        gains = shares - 100 * right["rgb"].mean(axis=1)
        won = int((hits & ~right["rgb"]).sum())
        lost = int((~hits & right["rgb"]).sum())
        spread = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in (shares, gains)]
        print(
            f"| {row} | {shares.mean():.1f} ± {spread[0]:.1f} | {gains.mean():+.1f} ± "
            f"{spread[1]:.1f} | {won}, {lost} |"
        )


def print_errors(clips: Clips, answers: Sequence[Mapping[str, Logits]]) -> None:
    """The clips that RGB has wrong with every seed, and what the others say of them most often."""

    def says(row: str, place: int) -> str:
        names = [clips.classes[one[row][place].argmax()] for one in answers]
        return collections.Counter(names).most_common(1)[0][0]

    wrong = np.all([one["rgb"].argmax(axis=1) != clips.labels for one in answers], axis=0)
    rows = (*STREAMS, "student of both, 0.2")
    print(f"\n| clip | {' | '.join(rows)} |\n|---|{'---|' * len(rows)}")
    for place in np.flatnonzero(wrong):
        print(f"| {clips.names[place]} | {' | '.join(says(row, place) for row in rows)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="prepared dataset of all three streams")
    parser.add_argument("--features", required=True, help="file to keep the features in, .npz")
    parser.add_argument("--start", default="i3d_kinetics400")
    parser.add_argument("--clip", default="32x160x160")
    parser.add_argument("--frame_stride", type=int, default=2)
    parser.add_argument("--short_side", type=int, help="of the frames before the crop, pixels")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--labelled", type=int, help="labelled clips of each class")
    parser.add_argument("--pseudo_labels_only", action="store_true")
    arguments = parser.parse_args()
    clip = ClipConfig.parse(
        arguments.clip, frame_stride=arguments.frame_stride, short_side=arguments.short_side
    )
    clips = read_clips(arguments.data, arguments.start, clip, pathlib.Path(arguments.features))
    everything = np.arange(len(clips.labels))
    answers = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        rows: dict[str, Logits] = {}
        for test in draw_parts(clips, everything, FOLDS, seed):
            train = np.setdiff1d(everything, test)
            for row, logits in answers_of_fold(
                clips, train, test, seed, arguments.labelled, arguments.pseudo_labels_only
            ).items():
                empty = np.zeros([len(everything), len(clips.classes)])
                rows.setdefault(row, empty)[test] = logits
        answers.append(rows)
    print_rows(clips, answers)
    if not arguments.pseudo_labels_only:
        print_errors(clips, answers)


if __name__ == "__main__":
    main()
