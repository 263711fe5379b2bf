"""How long training waits for its data."""

from __future__ import annotations

import tensorflow as tf

#: Our choice: below this share of the time, faster reading would hardly be felt.
NOTICEABLE = 0.2


class InputWait:
    """Sums the seconds in which a dataset's reader had to wait for the next batch.

    Where batches are ready before they are asked for, this stays near 0. Several devices of one
    machine read a batch ahead, so there it is near 0 or near all of the time.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        """Starts at 0; one that is not `enabled` watches nothing.

        TensorFlow refuses to look at a clock where its operations are to be deterministic.
        """
        self.enabled = enabled
        with tf.init_scope(), tf.device("CPU:0"):
            self._total = tf.Variable(0.0, dtype=tf.float64, trainable=False, name="input_wait")
        self._before = 0.0
        self._hinted = False

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same dataset, timed; it must have its own prefetching already."""
        if not self.enabled:
            return dataset

        # `zip` asks its parts one after the other: the clock first, then the batch.
        @tf.autograph.experimental.do_not_convert
        def now(_: tf.Tensor) -> tf.Tensor:
            return tf.timestamp()

        clock = tf.data.Dataset.counter().map(now)

        @tf.autograph.experimental.do_not_convert
        def note(asked: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            with tf.control_dependencies([self._total.assign_add(tf.timestamp() - asked)]):
                result: dict[str, tf.Tensor] = tf.nest.map_structure(tf.identity, batch)
                return result

        options = tf.data.Options()
        # Otherwise tf.data buffers once more, and that buffer's filling is what would be timed.
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip((clock, dataset)).map(note).with_options(options)

    def restart(self) -> None:
        """Restarts the count."""
        self._before = float(self._total.numpy())

    @property
    def seconds(self) -> float:
        """Waited since `restart`."""
        return float(self._total.numpy()) - self._before

    def hint(self, share: float) -> str:
        """A note, once, if `share` of the time went into waiting; else empty."""
        if share < NOTICEABLE or self._hinted:
            return ""
        self._hinted = True
        return (
            f"Reading clips is the bottleneck: training waited for them {share:.0%} of the time. "
            "More processor cores, records of a smaller `short_side`, or fewer streams would help."
        )
