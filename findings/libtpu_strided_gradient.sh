#!/usr/bin/env bash
# libtpu 0.0.52 with JAX 0.10.2, its compiler for TPU v3, v5e and v6e (no TPU is needed): the gradient
# of a 1x1 convolution with stride 2, such as the shortcut of a ResNet, for its input.
#
# One would expect: a 1x1 convolution of stride 2 sees every fourth pixel only, so that it, and its
# gradient, cost what the same convolution costs of the pixels taken out first, as x[:, ::2, ::2]. The
# compiler knows as much of it: it counts the same operations for both. Seen: it multiplies the zeros
# between as well. By the compiler's own estimates, which its program carries, the convolution in the
# gradient takes about three times the cycles, and the whole moves a third more bytes, though the other
# has one operation more, which puts the zeros in between. On the CPU both are equal to the bit.
#
# Seen:
#   JAX 0.10.2, libtpu 0.0.52, greatest difference on the CPU 0.0
#   v3, strided: 52.6 GFLOP, 1.44 GB, 3.26 million cycles
#   v3, taken out first: 52.6 GFLOP, 1.06 GB, 1.18 million cycles
#   v5e, strided: 52.6 GFLOP, 1.44 GB, 3.62 million cycles
#   v5e, taken out first: 52.6 GFLOP, 1.06 GB, 1.11 million cycles
#   v6e, strided: 52.6 GFLOP, 1.44 GB, 1.83 million cycles
#   v6e, taken out first: 52.6 GFLOP, 1.06 GB, 0.66 million cycles
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  jax==0.10.2 jaxlib==0.10.2 libtpu==0.0.52
cd "$workspace"
cat > gradient.py <<'PYTHON'
import os
import pathlib
import re
import sys

import libtpu

# The compiler alone: there is no TPU, and no server to ask for one.
os.environ.update(
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    TPU_WORKER_HOSTNAMES="localhost",
    TPU_WORKER_ID="0",
    TPU_LIBRARY_PATH=str(pathlib.Path(libtpu.__file__).parent / "libtpu.so"),
)
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding


def convolve(pixels, kernel, stride):
    return jax.lax.conv_general_dilated(
        pixels, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


FORMS = {
    "strided": lambda pixels, kernel: convolve(pixels, kernel, 2),
    "taken out first": lambda pixels, kernel: convolve(pixels[:, ::2, ::2], kernel, 1),
}


def gradient_of(form):
    def gradient(pixels, kernel, upstream):
        return jax.vjp(lambda inputs: form(inputs, kernel), pixels)[1](upstream)[0]

    return jax.jit(gradient)


random = np.random.default_rng(0)
arrays = [random.normal(size=s).astype("f") for s in ((2, 8, 8, 4), (1, 1, 4, 6), (2, 4, 4, 6))]
one, other = (np.asarray(gradient_of(form)(*arrays)) for form in FORMS.values())
print(f"JAX {jax.__version__}, libtpu {libtpu.__version__}, "
      f"greatest difference on the CPU {np.abs(one - other).max()}")
as_seen = np.array_equal(one, other)
for chip, topology in {"v3": "v3:2x2x1", "v5e": "v5e:2x2", "v6e": "v6e:2x2"}.items():
    device = topologies.get_topology_desc(topology, platform="tpu").devices[0]
    place = SingleDeviceSharding(device)
    shapes = [(256, 56, 56, 256), (1, 1, 256, 512), (256, 28, 28, 512)]
    specs = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place) for shape in shapes]
    found = {}
    for name, form in FORMS.items():
        program = gradient_of(form).lower(*specs).compile()
        text = program.as_text()
        entry = text[text.index("ENTRY"):]
        convolution = next(line for line in entry.splitlines() if " fusion(" in line)
        cycles = int(re.search(r'"estimated_cycles":"(\d+)"', convolution)[1])
        cost = program.cost_analysis()
        cost = cost[0] if isinstance(cost, list) else cost
        found[name] = cycles, cost["flops"], cost["bytes accessed"]
        print(f"{chip}, {name}: {cost['flops'] / 1e9:.1f} GFLOP, "
              f"{cost['bytes accessed'] / 1e9:.2f} GB, {cycles / 1e6:.2f} million cycles")
    ratios = [a / b for a, b in zip(found["strided"], found["taken out first"], strict=True)]
    as_seen &= ratios[0] > 2.5 and abs(ratios[1] - 1) < 0.01 and ratios[2] > 1.2
sys.exit(not as_seen)
PYTHON
venv/bin/python gradient.py 2> errors.txt || { status=$?; cat errors.txt >&2; exit $status; }
