"""What every command shares: flags of its own, help, and one way to refuse bad ones."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence

from absl import flags

from perfnet_tf.errors import InputError


class Command:
    """A command: flags, a function that runs it, and a help text.

    The function receives the parsed flags and the positional arguments, and returns the exit
    status or None for 0. It imports TensorFlow itself, so that `--help` is instant:

        COMMAND = Command("evaluate", "--runs=RUN[,RUN...] --data=DIR --output=DIR", _run)
        flags.DEFINE_list("runs", None, "Run directories.", flag_values=COMMAND.flags)
        COMMAND.require("runs", "data", "output")
    """

    def __init__(
        self,
        name: str,
        synopsis: str,
        function: Callable[[flags.FlagValues, list[str]], int | None],
        *,
        positional: str | None = None,
    ) -> None:
        """Makes a command without flags.

        Args:
            name: as typed after `perfnet`.
            synopsis: the usual flags, for the first line of the help.
            function: runs the command.
            positional: what positional arguments are (such as `VIDEO`); None refuses them.
        """
        self.name = name
        self.synopsis = synopsis
        self.flags = flags.FlagValues()
        self._function = function
        self._positional = positional
        self._required: tuple[str, ...] = ()

    def require(self, *names: str) -> None:
        """Flags that must be given."""
        self._required = names

    def __call__(self, arguments: Sequence[str]) -> int:
        """Parses `arguments` and runs the command; returns the exit status."""
        if any(argument in ("--help", "-h", "-help") for argument in arguments):
            print(self.help())
            return 0
        for name in self.flags:  # absl keeps what an earlier call in this process was given
            self.flags[name].unparse()
        try:
            positional = self.flags(["perfnet", *arguments])[1:]
        except flags.Error as error:
            raise InputError(
                f"{str(error).rstrip('.')}. See perfnet {self.name} --help."
            ) from error
        for name in self._required:
            if self.flags[name].value in (None, []):
                raise InputError(f"--{name} is required. Usage: {self.usage()}")
        if positional and self._positional is None:
            raise InputError(
                f"{self.name} takes no positional arguments. Received: {' '.join(positional)}. "
                "Flags are written --flag=value."
            )
        return self._function(self.flags, positional) or 0

    def usage(self) -> str:
        """One line."""
        words = ["perfnet", self.name, self.synopsis]
        return " ".join(word for word in words if word)

    def help(self) -> str:
        """The usage and every flag with its default."""
        lines = [f"usage: {self.usage()}", "", (self._function.__doc__ or "").strip(), ""]
        for name in sorted(self.flags):
            flag = self.flags[name]
            required = " (required)" if name in self._required else ""
            default = "" if flag.default in (None, []) else f" (default: {_shown(flag.default)})"
            lines.append(f"  --{name}{required}: {flag.help}{default}")
        return "\n".join(lines)


def tell_of_code(model: str) -> None:
    """Says on standard error what loading a SavedModel means, if `model` may be one."""
    if "://" not in model and not (pathlib.Path(model) / "saved_model.pb").is_file():
        return
    print(
        f"note: {model} is a SavedModel: loading it runs code from it. Use models that you trust.",
        file=sys.stderr,
        flush=True,
    )


def _shown(default: object) -> str:
    """A flag's default as one would type it."""
    if isinstance(default, bool):
        return str(default).lower()
    return ",".join(map(str, default)) if isinstance(default, list) else str(default)
