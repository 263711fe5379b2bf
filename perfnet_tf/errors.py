"""The one exception for input that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user passed breaks a rule; the message says rule, value received and remedy.

    The command line prints the message on one line, without a traceback, and exits with status 2.
    """


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raises `InputError` unless `value` is one of `choices`; never guesses, but does suggest."""
    choices = list(choices)
    if value in choices:
        return
    near = difflib.get_close_matches(str(value), choices, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"{name} must be one of {', '.join(choices)}. Received: {value!r}.{hint}")
