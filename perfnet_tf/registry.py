"""Names that users choose from and may add to: streams, backbones, estimators, datasets.

A *plugin* is a Python file or module that adds to a registry when it is imported. The command line
imports those of `--plugin` and of the environment variable `PERFNET_PLUGINS`; processes that the
package starts import the same ones.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from perfnet_tf.errors import InputError, check_choice, first_line

T = TypeVar("T")

#: Plugins to import, separated by `os.pathsep`: module names or paths of `.py` files.
PLUGINS_VARIABLE = "PERFNET_PLUGINS"


class Registry(Mapping[str, T], Generic[T]):
    """Name -> entry, in the order of registration; the package's own entries come first."""

    def __init__(self, kind: str, entries: Mapping[str, T] | None = None) -> None:
        """Makes a registry.

        Args:
            kind: what an entry is, for error messages: `stream`.
            entries: the package's own.
        """
        self.kind = kind
        self._entries: dict[str, T] = dict(entries or {})

    def register(self, name: str, entry: T) -> None:
        """Adds an entry.

        Raises:
            InputError: the name is taken, or no lower-case identifier.
        """
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise InputError(
                f"The name of a {self.kind} has lower-case letters, digits and underscores, a "
                f"letter first. Received: {name!r}."
            )
        if name in self._entries:
            raise InputError(
                f"There must be one {self.kind} of each name. Received: {name!r}, which exists. "
                "Choose another name."
            )
        self._entries[name] = entry

    def choose(self, name: str) -> T:
        """The entry `name`.

        Raises:
            InputError: there is none; the message lists the names and suggests the nearest.
        """
        check_choice(self.kind, name, self)
        return self._entries[name]

    @property
    def remedy(self) -> str:
        """What to do about a name that is missing, for error messages."""
        return f"If a plugin registers that {self.kind}, give the plugin (`plugin`)."

    def unregister(self, name: str) -> None:
        """Removes an entry, if it is there; tests do so."""
        self._entries.pop(name, None)

    def __getitem__(self, name: str) -> T:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def load_plugin(plugin: str | os.PathLike[str]) -> None:
    """Imports a plugin, once; processes that the package starts later import it as well.

    Args:
        plugin: a module's name, or the path of a `.py` file.

    Raises:
        InputError: it is not found, or its import fails.
    """
    name = os.fspath(plugin)
    is_file = name.endswith(".py")
    if is_file:
        name = str(pathlib.Path(name).resolve())
    loaded = os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)
    try:
        if is_file:
            _import_file(name)
        else:
            importlib.import_module(name)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"A plugin is a module or a .py file that can be imported. Received: {plugin} "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error
    if name not in loaded:
        os.environ[PLUGINS_VARIABLE] = os.pathsep.join(filter(None, [*loaded, name]))


def load_plugins() -> None:
    """Imports the plugins that `PERFNET_PLUGINS` names.

    Raises:
        InputError: as `load_plugin`.
    """
    for name in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(os.pathsep)):
        load_plugin(name)


def _import_file(path: str) -> None:
    name = pathlib.Path(path).stem
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == path:
        return
    if known is not None:
        raise InputError(
            f"A plugin's file needs a name that no imported module has. Received: {path}. "
            "Rename it."
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"A plugin is a Python file. Received: {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
