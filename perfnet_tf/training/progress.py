"""Reports how far a training is: a bar on a terminal, else a line per epoch or minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import tqdm

#: Without a terminal, nobody waits longer than this for a line.
LONGEST_SILENCE = 60.0


class Progress:
    """Writes to standard error, or nowhere."""

    def __init__(self, *, total: int, done: int, batch_size: int, show: bool) -> None:
        """Begins with `done` of `total` steps of `batch_size` clips."""
        self._show = show
        self._total, self._done, self._first = total, done, done
        self._batch_size = batch_size
        self._began = self._said = time.monotonic()
        self._bar = None
        if show and sys.stderr.isatty():
            self._bar = tqdm.tqdm(
                total=total * batch_size, initial=done * batch_size, unit="clip", smoothing=0.1
            )

    def advance(self, steps: int, loss: float) -> None:
        """Counts `steps` more, the last of which had this loss."""
        self._done += steps
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
            self._bar.update(steps * self._batch_size)
        elif time.monotonic() - self._said >= LONGEST_SILENCE:
            rate = (self._done - self._first) * self._batch_size / (time.monotonic() - self._began)
            self.say(
                f"step {self._done}/{self._total}: loss {loss:.4g}, {rate:.1f} clips/s, "
                f"{self._remaining()} left"
            )

    def epoch(self, number: int, epochs: int, values: Mapping[str, float]) -> None:
        """Reports the end of an epoch."""
        self.say(
            f"epoch {number}/{epochs}: "
            + ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            + f", {self._remaining()} left"
        )

    def say(self, line: str) -> None:
        """One line."""
        self._said = time.monotonic()
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        elif self._show:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _remaining(self) -> str:
        rate = (time.monotonic() - self._began) / max(self._done - self._first, 1)
        return str(tqdm.tqdm.format_interval(rate * (self._total - self._done)))
