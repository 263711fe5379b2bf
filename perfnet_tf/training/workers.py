"""What the machines of one training must know of each other."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import tensorflow as tf

from perfnet_tf.errors import InputError

T = TypeVar("T")

_NO, _YES, _REFUSED = 0.0, 1.0, 2.0


class Workers:
    """This process among those that train together; alone unless the strategy has several workers.

    All workers run the same program, and every method with an exchange must be called by all.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """The workers of a strategy."""
        self._strategy = strategy
        self.index, self.count = 0, 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            cluster = resolver.cluster_spec().as_dict()
            chiefs = len(cluster.get("chief", []))
            self.count = chiefs + len(cluster["worker"])
            self.index = resolver.task_id + (chiefs if resolver.task_type == "worker" else 0)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run's files."""
        return self.index == 0

    def gather(self, *values: float) -> np.ndarray:
        """Everyone's values: float64 `[workers, values]`. An exchange."""
        if self.count == 1:
            return np.array([values], np.float64)
        table = np.zeros([self.count, len(values)])
        table[self.index] = values
        local = len(self._strategy.extended.worker_devices)
        replicas = self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(table / local)
        )
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, replicas, axis=None)
        return np.asarray(total)

    def ask_chief(self, question: Callable[[], bool]) -> bool:
        """The chief's answer, for everyone; the others' files may lag behind. An exchange.

        Raises:
            InputError: the chief's question raised it.
        """
        answer, refusal = _NO, None
        if self.is_chief:
            try:
                answer = _YES if question() else _NO
            except InputError as error:
                answer, refusal = _REFUSED, error
        answer = self.gather(answer)[0, 0]
        if refusal is not None:
            raise refusal
        if answer == _REFUSED:
            raise InputError("The chief worker refused this run: see what it printed.")
        return bool(answer == _YES)

    def wait(self) -> None:
        """Returns when all have come here. An exchange."""
        self.gather(0.0)

    def own_folder(self, folder: pathlib.Path) -> pathlib.Path:
        """Where to write what only the chief's copy of is kept: `folder`, or a temporary one.

        Variables that differ among replicas are averaged when they are saved, so all must save.
        """
        if self.is_chief:
            return folder
        return pathlib.Path(tempfile.mkdtemp(prefix=f"perfnet-worker{self.index}-"))
