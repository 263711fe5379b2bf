"""Reads a Keras HDF5 file and writes its tensors as .npz: run as a separate process.

HDF5's library ends the process on some damaged files. Usage: `h5_process.py FILE.h5 OUTPUT.npz`;
the names go to standard output as a JSON list, in the order of the arrays; what is wrong with the
file goes there as a JSON text. It imports nothing of this package, so that it starts at once.
"""

from __future__ import annotations

import json
import sys
from typing import Any

if __name__ == "__main__":
    # This file's folder: its neighbours are no modules for the libraries below.
    sys.path.pop(0)

import h5py
import numpy as np


def main(path: str, output: str) -> None:
    """Does what the module says."""
    try:
        with h5py.File(path, "r") as root:
            group = root["model_weights"] if "model_weights" in root else root
            if "layer_names" not in group.attrs:
                raise ValueError(
                    "it has no list of layers; write it by model.save_weights('NAME.h5')"
                )
            values = _layers_of(group)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        print(json.dumps((str(error) or repr(error)).splitlines()[0]))
        return
    arrays: dict[str, Any] = {str(index): value for index, value in enumerate(values.values())}
    np.savez(output, **arrays)
    print(json.dumps(list(values)))


def _layers_of(group: Any) -> dict[str, np.ndarray]:
    values = {}
    for layer in group.attrs["layer_names"]:
        layer = _text(layer)
        weights = [_text(weight) for weight in group[layer].attrs["weight_names"]]
        kinds = [weight.split("/")[-1].split(":")[0] for weight in weights]
        # A network within a network is one layer here: its weights name their own layers.
        nested = len(set(kinds)) < len(kinds)
        for weight, kind in zip(weights, kinds, strict=True):
            value = np.asarray(group[layer][weight])
            if value.dtype.kind not in "fiu":
                raise ValueError(f"{weight} holds no numbers")
            owner = weight.split("/")[-2] if nested and "/" in weight else layer
            values[f"{owner}/{kind}"] = value
    return values


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else name


if __name__ == "__main__":
    main(*sys.argv[1:])
