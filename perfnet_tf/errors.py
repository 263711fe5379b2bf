"""The two exceptions that end a command in one line, and checks that every module makes."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable


class InputError(ValueError):
    """What the user passed breaks a rule; the message says rule, value received and remedy.

    The command line prints the message on one line, without a traceback, and exits with status 2.
    """

    #: TensorFlow's AutoGraph reads this. Without it, what is raised while a graph is traced becomes
    #: an error of AutoGraph's own, of many lines.
    ag_pass_through = True


class FailureError(RuntimeError):
    """The system failed, not the input: a full disk, a failed download, a diverged loss.

    The command line prints the message on one line, without a traceback, and exits with status 1.
    """


class MissingLibraryError(FailureError):
    """A library that the work needs cannot be loaded on this machine."""


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises `InputError` unless `value` is one of `choices`; never guesses, but does suggest.

    The suggestion is the nearest name, or the `remedy` of the choices if they have one.
    """
    names = list(choices)
    if value in names:
        return
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else getattr(choices, "remedy", "")
    message = f"{name} must be one of {', '.join(names)}. Received: {value!r}. {hint}"
    raise InputError(message.rstrip())


def check_positive(**values: float | None) -> None:
    """Raises `InputError` unless each is greater than 0 and finite, or None."""
    for name, value in values.items():
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"`{name}` must be greater than 0, and finite. Received: {value!r}.")


def check_not_negative(**values: float) -> None:
    """Raises `InputError` unless each is 0 or greater, and finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise InputError(f"`{name}` must be 0 or greater, and finite. Received: {value!r}.")


def check_whole(**values: int) -> None:
    """Raises `InputError` unless each is 1 or greater."""
    for name, value in values.items():
        if value < 1:
            raise InputError(f"`{name}` must be 1 or greater. Received: {value}.")


def first_line(error: BaseException) -> str:
    """What an error says, on one line; its type where it says nothing, as some libraries' do."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_utf8(path: str | os.PathLike[str]) -> bool:
    """Whether a path can be written as text: on Linux any bytes may name a file."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True
