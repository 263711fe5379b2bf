"""What every command shares: flags, help, plugins, and errors that name its flags."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from absl import flags

from perfnet_tf.errors import FailureError, InputError
from perfnet_tf.registry import load_plugin, load_plugins

#: A command's function: parsed flags and positional arguments -> exit status, None for 0.
Function = Callable[[flags.FlagValues, list[str]], int | None]
_Words = list[str]  # within the classes below, `list` is a method


class FlagSet:
    """Flags, each defined by the method of its type.

    A default of None means that the flag may be missing. `argument` is the name of the Python
    argument that a flag sets, where it differs from the flag's: error messages of the library name
    arguments in backticks, and `in_flags` rewrites them.
    """

    def __init__(self) -> None:
        self.flags = flags.FlagValues()
        self._flag_of: dict[str, str] = {}
        self._aliases: dict[str, tuple[str, Callable[[str], bool] | None]] = {}

    def string(
        self,
        name: str,
        default: str | None,
        help_text: str,
        *,
        choices: Iterable[str] | None = None,
        argument: str | None = None,
    ) -> None:
        """Defines a flag that holds text, one of `choices` where they are given."""
        if choices is None:
            self._add(flags.DEFINE_string, name, default, help_text, argument)
        else:
            self._add(flags.DEFINE_enum, name, default, list(choices), help_text, argument)

    def integer(
        self,
        name: str,
        default: int | None,
        help_text: str,
        *,
        lower_bound: int | None = None,
        argument: str | None = None,
    ) -> None:
        """Defines a flag that holds a whole number."""
        self._add(flags.DEFINE_integer, name, default, help_text, argument, lower_bound=lower_bound)

    def number(
        self, name: str, default: float | None, help_text: str, *, argument: str | None = None
    ) -> None:
        """Defines a flag that holds a float."""
        self._add(flags.DEFINE_float, name, default, help_text, argument)

    def boolean(
        self, name: str, default: bool | None, help_text: str, *, argument: str | None = None
    ) -> None:
        """Defines a switch: --name or --noname."""
        self._add(flags.DEFINE_bool, name, default, help_text, argument)

    def list(
        self,
        name: str,
        default: Sequence[str] | None,
        help_text: str,
        *,
        argument: str | None = None,
    ) -> None:
        """Defines a flag that holds words, separated by commas."""
        value = None if default is None else list(default)
        self._add(flags.DEFINE_list, name, value, help_text, argument)

    def repeated(
        self, name: str, default: Sequence[str], help_text: str, *, argument: str | None = None
    ) -> None:
        """Defines a flag that holds words and is given once for each."""
        self._add(flags.DEFINE_multi_string, name, list(default), help_text, argument)

    def alias(self, old: str, new: str, *, when: Callable[[str], bool] | None = None) -> None:
        """Accepts `--old` as the former name of `--new`, with a note on standard error.

        Args:
            old: the former name. It may be the name of another flag now; `when` is needed then.
            new: a flag.
            when: whether a value is one that the former flag took; without it, every value is.
        """
        self._aliases[old] = (new, when)

    def parse(self, arguments: Sequence[str], *, files: bool = False) -> _Words:
        """Sets the flags from command line words; returns the positional ones.

        Args:
            arguments: the words.
            files: whether positional words are files: a word that begins with "-", is no flag and
                names an existing file is then that file, as in `perfnet predict *.mp4`.

        Raises:
            InputError: an unknown flag, or a value of the wrong type.
        """
        for name in self.flags:  # absl keeps what an earlier call in this process was given
            self.flags[name].unparse()
        try:
            words = self._renamed(arguments)
            if files:
                words = self._with_files_marked(words)
            result: _Words = self.flags(["perfnet", *words])[1:]
            return result
        except flags.Error as error:
            raise InputError(str(error).rstrip(".") + ".") from error

    def in_flags(self, message: str) -> str:
        """`message`, where arguments in backticks that are flags are written as flags."""

        def flag(found: re.Match[str]) -> str:
            name = self._flag_of.get(found[1], found[1])
            return f"--{name}{found[2] or ''}" if name in self.flags else found[0]

        return re.sub(r"`(\w+)(=[^`]*)?`", flag, message)

    def _add(
        self,
        define: Callable[..., Any],
        name: str,
        *values: Any,  # default, choices if any, help and argument
        **options: Any,
    ) -> None:
        *values_of_flag, argument = values
        define(name, *values_of_flag, flag_values=self.flags, **options)
        if argument is not None:
            self._flag_of[argument] = name

    def _with_files_marked(self, words: Sequence[str]) -> _Words:
        """`words`, with "./" in front of files that would be taken for flags."""
        marked: _Words = []
        is_value = False  # of the flag before it
        for i, word in enumerate(words):
            if word == "--" and not is_value:
                return [*marked, *words[i:]]
            name, equals, _ = word.lstrip("-").partition("=")
            flag = self.flags[name] if name in self.flags else None
            known = flag is not None or name.removeprefix("no") in self.flags
            if not is_value and not known and word.startswith("-") and os.path.exists(word):
                word = os.path.join(os.curdir, word)
            marked.append(word)
            takes_value = flag is not None and not flag.boolean and not equals
            is_value = not is_value and word.startswith("-") and takes_value
        return marked

    def _renamed(self, arguments: Sequence[str]) -> _Words:
        """`arguments`, with flags of former names under their names of today."""
        words = list(arguments)
        renamed: dict[str, str] = {}
        named = set()
        for i, word in enumerate(words):
            if word == "--":
                break
            found = re.fullmatch(r"--?(\w+)(=.*)?", word, re.DOTALL)
            if found is None:
                continue
            old, value = found[1], found[2]
            new, when = self._aliases.get(old, (old, None))
            following = words[i + 1] if value is None and i + 1 < len(words) else ""
            if new == old or (when and not when(value[1:] if value else following)):
                named.add(old)
                continue
            renamed[old] = new
            words[i] = f"--{new}{value or ''}"
        for old, new in renamed.items():
            if new in named:
                raise InputError(
                    f"--{old} is the former name of --{new}. Received: both. Give --{new} alone."
                )
            print(f"note: --{old} is now --{new}.", file=sys.stderr, flush=True)
        return words


class Command(FlagSet):
    """A command: flags, a function that runs it, and a help text.

    The function receives the parsed flags and the positional arguments, and returns the exit
    status or None for 0. It imports TensorFlow itself, so that `--help` is instant:

        COMMAND = Command("evaluate", "--models=RUN[,RUN...] --data=DIR --output=DIR", _run)
        COMMAND.list("models", [], "Run directories.")
        COMMAND.string("data", None, "Prepared dataset.")
        COMMAND.integer("batch", 8, "Clips at once.", argument="batch_size")
        COMMAND.alias("runs", "models")
        COMMAND.require("models", "data")
    """

    def __init__(
        self,
        name: str,
        synopsis: str,
        function: Function,
        *,
        positional: str | None = None,
    ) -> None:
        """Makes a command with the flag `--plugin`, which all commands have.

        Args:
            name: as typed after `perfnet`.
            synopsis: the usual flags, for the first line of the help.
            function: runs the command.
            positional: what positional arguments are (such as `VIDEO`); None refuses them.
                `VIDEO`s are files, whose names may begin with "-".
        """
        super().__init__()
        self.name = name
        self.synopsis = synopsis
        self._function = function
        self._positional = positional
        self._required: tuple[str, ...] = ()
        self.list(
            "plugin",
            [],
            "Python files or modules to import first, which register streams, backbones, pose "
            "estimators or datasets.",
        )

    @property
    def required(self) -> tuple[str, ...]:
        """The flags that must be given."""
        return self._required

    def require(self, *names: str) -> None:
        """Flags that must be given."""
        self._required = names

    def __call__(self, arguments: Sequence[str]) -> int:
        """Parses `arguments` and runs the command; returns the exit status.

        Raises:
            InputError, FailureError: as the command does; the messages name flags.
        """
        if any(argument in ("--help", "-h", "-help") for argument in arguments):
            print(self.help())
            return 0
        try:
            positional = self.parse(arguments, files=self._takes_files)
        except InputError as error:
            hint = f" {self._dash_hint()}" if self._takes_files and "flag '" in str(error) else ""
            raise InputError(f"{error}{hint} See perfnet {self.name} --help.") from error
        try:
            load_plugins()
            for plugin in self.flags.plugin:
                load_plugin(plugin)
            self._check(positional)
            return self._function(self.flags, positional) or 0
        except (InputError, FailureError) as error:
            message = self.in_flags(str(error))
            if message != str(error):
                error.args = (message,)
            raise

    @property
    def _takes_files(self) -> bool:
        return self._positional == "VIDEO"

    def _dash_hint(self) -> str:
        return f"Names that begin with - come after --: perfnet {self.name} [FLAGS] -- *.mp4."

    def usage(self) -> str:
        """One line."""
        words = ["perfnet", self.name, self.synopsis]
        return " ".join(word for word in words if word)

    def help(self) -> str:
        """The usage and every flag with its default."""
        lines = [f"usage: {self.usage()}", "", (self._function.__doc__ or "").strip(), ""]
        if self._takes_files:
            lines += [f"    {self._dash_hint()}", ""]
        for name in sorted(self.flags):
            flag = self.flags[name]
            required = " (required)" if name in self._required else ""
            former = [old for old, (new, _) in self._aliases.items() if new == name]
            was = f" (was {', '.join(f'--{old}' for old in former)})" if former else ""
            default = "" if flag.default in (None, []) else f" (default: {_shown(flag.default)})"
            lines.append(f"  --{name}{required}{was}: {flag.help}{default}")
        return "\n".join(lines)

    def _check(self, positional: _Words) -> None:
        for name in self._required:
            if self.flags[name].value in (None, []):
                raise InputError(f"--{name} is required. Usage: {self.usage()}")
        if positional and self._positional is None:
            raise InputError(
                f"{self.name} takes no positional arguments. Received: {' '.join(positional)}. "
                "Flags are written --flag=value."
            )


@contextlib.contextmanager
def quick_imports() -> Iterator[None]:
    """Garbage is not collected here: TensorFlow imports a tenth faster."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def warn_runs_code(model: str) -> None:
    """Notes on standard error that loading `model` runs code, if it may be a SavedModel."""
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
