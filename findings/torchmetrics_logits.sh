#!/usr/bin/env bash
# torchmetrics 1.9.0 with torch 2.13.0; scikit-learn 1.9.1 for comparison.
#
# One would expect: average precision depends on the order of scores alone, so that logits and their
# probabilities give the same. Seen: torchmetrics applies a sigmoid to logits, in float32, where all
# above 17 become 1 and are tied: the further logits lie from 0, the lower the same order is rated,
# down to 0.27 where it is worth 0.68. And it decides batch by batch: the logits of a batch that all lie
# between 0 and 1 are taken for probabilities as they are and mixed with the sigmoids of others, so
# that the result depends on how clips were put into batches. No warning in either case.
#
# Seen:
#   torchmetrics 1.9.0, torch 2.13.0, scikit-learn 1.9.1
#   logits around 0: torchmetrics 0.670, scikit-learn 0.677
#   logits around 10: torchmetrics 0.556, scikit-learn 0.677
#   logits around 20: torchmetrics 0.398, scikit-learn 0.677
#   logits around 40: torchmetrics 0.269, scikit-learn 0.677
#   small logits: in one batch 0.524, in two 0.428, scikit-learn 0.524
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
from sklearn.metrics import average_precision_score
from torchmetrics.classification import BinaryAveragePrecision

version = torch.__version__.split("+")[0]
print(f"torchmetrics {torchmetrics.__version__}, torch {version}, scikit-learn {sklearn.__version__}")
generator = np.random.default_rng(0)
truth = (generator.uniform(size=200) < 0.3).astype(int)
noise = generator.normal(size=200)


def rated(*batches):
    metric = BinaryAveragePrecision()
    for scores, labels in batches:
        metric.update(torch.tensor(scores, dtype=torch.float32), torch.tensor(labels))
    return float(metric.compute())


seen = []
for offset in (0, 10, 20, 40):
    logits = 10 * noise + 15 * truth + offset
    seen.append((rated((logits, truth)), float(average_precision_score(truth, logits))))
    print(f"logits around {offset}: torchmetrics {seen[-1][0]:.3f}, scikit-learn {seen[-1][1]:.3f}")
logits = 0.5 * noise + 0.5 * truth + 0.5
inside = (logits >= 0) & (logits <= 1)
whole = rated((logits, truth))
parts = rated((logits[inside], truth[inside]), (logits[~inside], truth[~inside]))
right = float(average_precision_score(truth, logits))
print(f"small logits: in one batch {whole:.3f}, in two {parts:.3f}, scikit-learn {right:.3f}")
tied = abs(seen[0][0] - seen[0][1]) < 0.05 and seen[-1][0] < seen[-1][1] - 0.3
same = len({round(exact, 6) for _, exact in seen}) == 1 and abs(whole - right) < 1e-4
sys.exit(not (tied and same and abs(parts - right) > 0.01))
PYTHON
