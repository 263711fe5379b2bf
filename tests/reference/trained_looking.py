"""Weights that make a fresh network behave as if it had been trained."""

from __future__ import annotations

import numpy as np
import tf_keras


def give_statistics(model: tf_keras.Model, seed: int = 0) -> tf_keras.Model:
    """Random weights and batch-norm statistics; returns the model.

    No layer is silent, activations do not grow from cell to cell, and no gate is saturated:
    saturated ones turn bfloat16's rounding into errors of another size.
    """
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        shape = variable.shape
        if shape.rank == 2:
            value = rng.normal(size=shape) * 0.05
        elif shape.rank > 2:
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[:-1]))
        elif "gamma" in variable.name:
            value = rng.uniform(0.2, 0.6, shape)
        elif "variance" in variable.name:
            value = rng.uniform(0.5, 1.5, shape)
        else:
            value = rng.normal(size=shape) * 0.2
        variable.assign(value.astype(np.float32))
    return model
