"""What folding and bfloat16 change in a trained network's answers, on real clips.

    python tests/benchmarks/bench_folding.py --run=runs/student --data=data

Evaluates the run as `perfnet evaluate` does, beside what `perfnet export --inference_only` writes
of it in each precision, on the same clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from perfnet_tf.config import INFERENCE_PRECISIONS
from perfnet_tf.evaluation.protocol import evaluate_runs
from perfnet_tf.recognizers.frozen import FrozenNetwork
from perfnet_tf.recognizers.run_directory import load_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    folded = [
        dataclasses.replace(
            run,
            path=pathlib.Path(f"folded_{precision}"),
            model=FrozenNetwork.from_model(run.model, precision=precision),  # type: ignore[arg-type]
        )
        for precision in INFERENCE_PRECISIONS
    ]
    with tempfile.TemporaryDirectory(prefix="perfnet-bench-") as name:
        evaluate_runs([run, *folded], arguments.data, name, split=arguments.split, progress=False)
        files = [pathlib.Path(name) / f"logits_{one.path.resolve().name}.npz" for one in folded]
        own, *others = [
            np.load(file, allow_pickle=False)
            for file in (pathlib.Path(name) / f"logits_{run.path.resolve().name}.npz", *files)
        ]
        labels, logits = own["labels"], own["logits"]
        report = {
            "run": str(run.path),
            "num_clips": len(labels),
            "right": int((logits.argmax(1) == labels).sum()),
        }
        for precision, other in zip(INFERENCE_PRECISIONS, others, strict=True):
            report[f"folded, {precision}"] = {
                "right": int((other["logits"].argmax(1) == labels).sum()),
                "other_answers": int((other["logits"].argmax(1) != logits.argmax(1)).sum()),
                "logits_differ": float(np.abs(other["logits"] - logits).max()),
                "largest_logit": float(np.abs(logits).max()),
            }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
