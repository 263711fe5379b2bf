"""Flags whose value is a list of NAME=VALUE pairs."""

from __future__ import annotations

from collections.abc import Sequence

from perfnet_tf.errors import InputError


def parse_named_values(flag: str, words: Sequence[str]) -> dict[str, str]:
    """Name -> value of `NAME=VALUE` words, in their order.

    Raises:
        InputError: a word without a name, an equals sign or a value; or a name given twice.
    """
    values: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not (name and value):
            raise InputError(f"--{flag} is written NAME=VALUE,NAME=VALUE. Received: {word!r}.")
        if name in values:
            raise InputError(f"--{flag} names something twice. Received: {','.join(words)}.")
        values[name] = value
    return values
