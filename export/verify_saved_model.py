"""Checks an exported model as its users will meet it: with TensorFlow alone, in a new process.

    python export/verify_saved_model.py --model=student

The logits of the golden clip, which the export stored with the graph, must be those of the
network that was trained; then everything that the reusable SavedModel interface promises is tried.
perfnet_tf is made impossible to import.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import app, flags

_MODEL = flags.DEFINE_string("model", None, "Folder of the SavedModel.", required=True)
_TOLERANCE = flags.DEFINE_float(
    "tolerance",
    None,
    "Largest difference of logits, as a share of the largest logit. Raise it on hardware that "
    "computes convolutions in less than float32. Default: 1e-5, or 1e-4 where batch norm was "
    "folded, or 0.1 in bfloat16.",
)

#: By what a frozen model computes in; None for one that can be trained.
TOLERANCES = {None: 1e-5, "float32": 1e-4, "bfloat16": 0.1}


def main(argv: Sequence[str]) -> None:
    """Prints one line a check; exits with status 1 if any failed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    sys.modules["perfnet_tf"] = None  # type: ignore[assignment]
    sys.modules["tf_keras"] = None  # type: ignore[assignment]
    folder = pathlib.Path(_MODEL.value)
    if not (folder / "saved_model.pb").is_file():
        sys.exit(f"verify_saved_model.py: {folder} is no SavedModel.")
    import tensorflow as tf

    failed = 0
    for passed, line in checks(tf, folder, _TOLERANCE.value):
        print(f"{'ok  ' if passed else 'FAIL'}  {line}", flush=True)
        failed += not passed
    if failed:
        sys.exit(f"verify_saved_model.py: {failed} checks failed for {folder}")


def checks(tf: Any, folder: pathlib.Path, tolerance: float | None) -> Iterator[tuple[bool, str]]:
    """(passed, what was checked), in order."""
    module = tf.saved_model.load(str(folder))
    info = json.loads(pathlib.Path(module.info_file.asset_path.numpy().decode()).read_text())
    labels = pathlib.Path(module.labels_file.asset_path.numpy().decode()).read_text().splitlines()
    with np.load(folder / "assets.extra" / "golden.npz", allow_pickle=False) as golden:
        frames, expected = golden["frames"], golden["logits"]
        expected_features = golden["features"]
    stream = info["experiment"]["stream"]
    frozen = info.get("inference_precision")
    if tolerance is None:
        tolerance = TOLERANCES[frozen]
    yield (
        expected.shape[1] == len(labels),
        f"{stream} model, {len(labels)} labels, {expected.shape[1]} logits",
    )

    def compare(what: str, values: Any, reference: np.ndarray) -> tuple[bool, str]:
        scale = np.abs(reference).max()
        difference = np.abs(np.asarray(values) - reference).max() / scale
        return bool(difference <= tolerance), f"{what}: difference {difference:.1e} of {scale:.3g}"

    scaled = tf.constant(frames / np.float32(255) if frames.dtype == np.uint8 else frames)
    if frames.dtype == np.uint8:
        yield compare("logits of uint8 frames", module(frames), expected)
    yield compare("logits of float32 frames", module(scaled), expected)
    yield compare("logits of one clip", module(scaled[:1]), expected[:1])
    yield compare("features", module.features(scaled), expected_features)
    served = module.signatures["serving_default"](frames=scaled)
    yield sorted(served) == ["features", "logits", "probabilities"], f"outputs {sorted(served)}"
    yield compare("serving_default's logits", served["logits"], expected)
    odd = module(tf.concat([scaled, scaled], 1)[:, :13, :49, :67])
    yield odd.shape == expected.shape, f"13 frames of 49x67 give logits {tuple(odd.shape)}"

    if frozen:
        yield not list(module.variables), f"frozen in {frozen}: no variables"
        return
    moving = [v for v in module.variables if "moving" in v.name]
    before = [v.numpy() for v in moving]
    module(scaled, training=False)
    still = all(np.array_equal(v, old) for v, old in zip(moving, before, strict=True))
    yield still, f"{len(moving)} batch-norm statistics rest in inference"
    with tf.GradientTape() as tape:
        logits = module(scaled, training=True)
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(tf.zeros(len(frames), tf.int32), logits)
        )
        decay = tf.add_n([tf.constant(0.0)] + [term() for term in module.regularization_losses])
        loss += decay
    changed = sum(not np.array_equal(v, old) for v, old in zip(moving, before, strict=True))
    yield changed == len(moving), f"{changed} of {len(moving)} statistics change in training"
    gradients = tape.gradient(loss, module.trainable_variables)
    reached = sum(gradient is not None for gradient in gradients)
    yield (
        reached == len(gradients) > 0,
        f"gradients of {reached} of {len(gradients)} trainable variables",
    )
    yield bool(np.isfinite(decay)), f"weight decay {float(decay):.4g}"


if __name__ == "__main__":
    app.run(main)
