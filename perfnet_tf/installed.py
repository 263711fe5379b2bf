"""Which packages are installed, without importing them."""

from __future__ import annotations

import importlib.util


def missing_modules(*names: str) -> list[str]:
    """Those of the modules that cannot be found, in the order given; `a.b` imports `a`."""
    return [name for name in names if not _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package around it
        return False
