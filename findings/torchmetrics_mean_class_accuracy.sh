#!/usr/bin/env bash
# torchmetrics 1.9.0 with torch 2.13.0; scikit-learn 1.9.1 for comparison.
#
# One would expect: MulticlassAccuracy's default average, "macro", is the mean accuracy per class, as
# papers on videos report it, over the classes that have examples. Seen: a class without examples
# counts as 0 as soon as one prediction names it. One mistake in a hundred clips takes the mean of 4
# classes from 0.99 to 0.79. For top_k above 1 such classes are left out, so that top-1 and top-2 are
# means over other classes: a network that has 54 % of its clips right in the first place and 72 % in
# the first two gets 0.22 and 0.72. Validation on some of the classes, or on few clips, is rated far
# too low. F1 at top-5 counts classes that precision and recall leave out, and is less than half of
# either, though it is a mean of them.
#
# Seen:
#   torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1
#   99 of 100 right, one taken for a class without examples: torchmetrics 0.792, scikit-learn 0.990
#   noisy network: torchmetrics 0.216, scikit-learn 0.540
#   top 1, 2, 5 by torchmetrics 0.216 0.720 0.900; counted 0.540 0.720 0.900
#   top 5, precision 0.958, recall 0.900, f1_score 0.412
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  numpy==2.4.6 scikit-learn==1.9.1 torch==2.13.0 torchmetrics==1.9.0
cd "$workspace"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
import sklearn
import torch
import torchmetrics
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.functional import classification

version = torch.__version__.split("+")[0]
print(f"torchmetrics {torchmetrics.__version__}, torch {version}, scikit-learn {sklearn.__version__}")
CLASSES, SEEN = 10, 4
truth = torch.arange(SEEN).repeat_interleave(25)


def rated(logits, top_k=1):
    return float(MulticlassAccuracy(CLASSES, top_k=top_k)(logits, truth))


def per_class(logits):
    return float(balanced_accuracy_score(truth.numpy(), logits.argmax(1).numpy()))


nearly = torch.eye(CLASSES)[truth]
nearly[0] = torch.eye(CLASSES)[9]
numbers = [rated(nearly), per_class(nearly)]
print("99 of 100 right, one taken for a class without examples: torchmetrics {:.3f}, scikit-learn {:.3f}"
      .format(*numbers))
generator = np.random.default_rng(0)
logits = torch.tensor(generator.normal(size=[100, CLASSES]), dtype=torch.float32)
logits[torch.arange(100), truth] += 1.5
numbers += [rated(logits), per_class(logits)]
print("noisy network: torchmetrics {:.3f}, scikit-learn {:.3f}".format(*numbers[2:]))
shares = [float((logits.topk(k).indices == truth[:, None]).any(1).float().mean()) for k in (1, 2, 5)]
tops = [rated(logits, k) for k in (1, 2, 5)]
print("top 1, 2, 5 by torchmetrics", *(f"{value:.3f}" for value in tops), end="; ")
print("counted", *(f"{value:.3f}" for value in shares))
names = ("precision", "recall", "f1_score")
scores = [
    float(getattr(classification, f"multiclass_{name}")(logits, truth, CLASSES, top_k=5))
    for name in names
]
print("top 5,", ", ".join(f"{name} {value:.3f}" for name, value in zip(names, scores)))
low = abs(numbers[0] - 0.792) < 1e-3 and abs(numbers[1] - 0.99) < 1e-3
few = abs(tops[0] - 0.4 * shares[0]) < 1e-3 and np.allclose(tops[1:], shares[1:], atol=1e-3)
sys.exit(not (low and few and scores[2] < min(scores[:2]) - 0.3))
PYTHON
