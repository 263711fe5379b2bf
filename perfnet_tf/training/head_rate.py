"""A learning rate of its own for the classifier, under any optimizer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf
import tf_keras


def scale_learning_rate(
    optimizer: tf_keras.optimizers.Optimizer, variables: Sequence[tf.Variable], scale: float
) -> None:
    """Makes an optimizer update some variables at a multiple of its learning rate.

    The rate is what is scaled, not the gradient, which Adam would normalise again. For momentum SGD
    and for a decoupled weight decay this is what a parameter group with its own rate does. State,
    checkpoints and `optimizer.learning_rate` stay as they are.

    Args:
        optimizer: changed in place: its class becomes a subclass of its class.
        variables: those that learn at another rate, of the optimizer's strategy.
        scale: factor of their rate.
    """
    base: Any = type(optimizer)
    keys = {optimizer._var_key(variable) for variable in variables}
    factors = [1.0]  # the last is of the variable that is being updated

    @contextlib.contextmanager
    def scaled(enabled: bool) -> Iterator[None]:
        factors.append(scale if enabled else 1.0)
        try:
            yield
        finally:
            factors.pop()

    def rate(self: Any) -> Any:
        value = base.learning_rate.fget(self)
        return value if factors[-1] == 1.0 else value * factors[-1]

    def update_step(self: Any, gradient: tf.Tensor, variable: tf.Variable) -> None:
        with scaled(self._var_key(variable) in keys):
            base.update_step(self, gradient, variable)

    def apply_weight_decay(self: Any, variables: Sequence[tf.Variable]) -> None:
        for enabled in (False, True):
            part = [v for v in variables if (self._var_key(v) in keys) == enabled]
            with scaled(enabled):
                base._apply_weight_decay(self, part)

    members = {
        "learning_rate": property(rate, base.learning_rate.fset),
        "update_step": update_step,
        "_apply_weight_decay": apply_weight_decay,
    }
    object.__setattr__(optimizer, "__class__", type(base.__name__, (base,), members))
