"""Contenders' processes, and the turns that they take."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from perfnet_tf.benchmark.protocol import MARK
from perfnet_tf.errors import InputError


@dataclass(frozen=True)
class Turn:
    """One run of one contender.

    Attributes:
        wall: seconds that passed.
        cpu: seconds that processors spent on it, which other work on the machine disturbs less.
        peak: bytes of memory at most since the process began, its libraries included.
    """

    wall: float
    cpu: float
    peak: int


class Contender:
    """A process that runs a network on request."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        """Starts the process and waits until it is ready.

        Raises:
            InputError: it could not be started, or ended before it was ready: with the end of
                what it said.
        """
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
        except OSError as error:
            self._errors.close()
            raise InputError(
                f"An interpreter was expected. Received: {command[0]}, which does not start: "
                f"{error.strerror}."
            ) from error
        self._input: Any = self._process.stdin
        self._output: Any = self._process.stdout
        self._answer()

    def run(self, shape: Sequence[int]) -> Turn:
        """One run on a clip of `shape`, [batch, frames, height, width].

        Raises:
            InputError: the process ended, for lack of memory or by its own error.
        """
        try:
            self._input.write(json.dumps({"shape": list(shape)}) + "\n")
            self._input.flush()
        except BrokenPipeError:
            pass  # `_answer` reports why
        return Turn(**self._answer())

    def _answer(self) -> dict[str, Any]:
        for line in self._output:
            if line.startswith(MARK):
                result: dict[str, Any] = json.loads(line.removeprefix(MARK))
                return result
        status = self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        reason = said[-1][:300] if said else "it said nothing"
        raise InputError(
            f"{self.name} ended with status {status}: {reason}. A smaller clip or batch needs less "
            "memory; a peer needs its library."
        )

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._input.close()
        self._output.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def take_turns(
    contenders: Mapping[str, Callable[[], Contender]],
    shape: Sequence[int],
    *,
    rounds: int,
    failures: dict[str, str],
    warmup: int = 2,
) -> Iterator[tuple[str, Turn]]:
    """Runs contenders in turn; yields name and turn, `rounds` of each, round by round.

    Args:
        contenders: name -> what starts it, in the order to start them.
        shape: [batch, frames, height, width] of every run.
        rounds: turns of each that count.
        failures: gets the name and the reason of each that cannot be started or ends early, which
            the others do without.
        warmup: turns of each before that do not: a first run compiles and lays out weights.
    """
    started: dict[str, Contender] = {}
    try:
        for name, start in contenders.items():
            try:
                started[name] = start()
                for _ in range(warmup):
                    started[name].run(shape)
            except InputError as error:
                _leave_out(name, error, started, failures)
        for _ in range(rounds):
            for name, contender in list(started.items()):
                try:
                    turn = contender.run(shape)
                except InputError as error:
                    _leave_out(name, error, started, failures)
                else:
                    yield name, turn
    finally:
        for contender in started.values():
            contender.close()


def _leave_out(
    name: str, error: InputError, started: dict[str, Contender], failures: dict[str, str]
) -> None:
    failures[name] = str(error)
    if name in started:
        started.pop(name).close()
