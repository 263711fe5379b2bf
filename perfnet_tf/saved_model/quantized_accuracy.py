"""What quantisation costs: logits and accuracy of integer files next to the network's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from perfnet_tf.evaluation.metrics import accuracy_summary
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.saved_model.calibration import (
    CHECKED_ON,
    NUM_CHECKED,
    CalibrationData,
    as_float_clip,
)
from perfnet_tf.saved_model.golden import relative_difference

#: From float32 clips to float32 logits `[batch, classes]`.
Predict = Callable[[np.ndarray], np.ndarray]


def measure_quantized(
    files: Mapping[str, Predict],
    model: VideoModel,
    data: CalibrationData,
    classes: tuple[str, ...],
) -> dict[str, Any]:
    """Runs a network and its integer files on the same clips.

    The clips are a split that the network was not calibrated on where the records have one.

    Args:
        files: name -> a file's network.
        model: the network in float32.
        data: records or videos.
        classes: of the network, in the order of its logits.

    Returns:
        `split` (of records), `num_clips`, and under `logits_differ` and `same_answers` for each
        file the largest difference as a share of the largest logit, and the clips with the same
        answer. Under `accuracy` for each file and `float32` what `accuracy_summary` gives; empty
        where the records have other classes or the clips no labels.
    """
    split = data.split(CHECKED_ON)
    labels: list[np.ndarray | None] = []
    expected: list[np.ndarray] = []
    found: dict[str, list[np.ndarray]] = {name: [] for name in files}
    for clip, label in data.clips(split, NUM_CHECKED):
        frames = as_float_clip(clip)
        labels.append(label)
        expected.append(model(frames, training=False).numpy())
        for name, predict in files.items():
            found[name].append(predict(frames))
    reference = np.concatenate(expected)
    logits = {name: np.concatenate(parts) for name, parts in found.items()}
    same = {
        name: int((values.argmax(-1) == reference.argmax(-1)).sum())
        for name, values in logits.items()
    }
    accuracy = {}
    if data.has_classes(classes):
        order = data.label_order(classes)
        truth = np.concatenate([label for label in labels if label is not None])
        accuracy = {
            name: accuracy_summary(values[:, order], truth)
            for name, values in {"float32": reference, **logits}.items()
        }
    return {
        **({"split": split} if split else {}),
        "num_clips": len(reference),
        "logits_differ": {
            name: relative_difference(values, reference) for name, values in logits.items()
        },
        "same_answers": same,
        "accuracy": accuracy,
    }
