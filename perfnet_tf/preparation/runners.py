"""Apache Beam's runners by name, checked before any work starts.

Only `resolve_options` with a runner imports Beam, which takes seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.errors import InputError, check_choice, first_line
from perfnet_tf.installed import missing_modules

_FLAG = "--runner"


@dataclass(frozen=True)
class _Runner:
    """A runner that needs more than Apache Beam.

    Attributes:
        path: full name of its class.
        install: what to give to pip for it.
        modules: modules that must be there.
        defaults: Beam's options that it gets where the user gives none of that name.
        instead: options that also count as given, by the name of a default.
    """

    path: str
    install: str
    modules: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)


#: Name in lower case, without "runner" at its end -> runner.
_RUNNERS = {
    "dask": _Runner(
        "apache_beam.runners.dask.dask_runner.DaskRunner",
        "perfnet-tf[dask]",
        ("dask", "distributed"),
        # Beam's default is 128 elements per task, and Dask spreads tasks only.
        {"dask_partition_size": "1"},
        {"dask_partition_size": "dask_npartitions"},
    ),
    "dataflow": _Runner(
        "apache_beam.runners.dataflow.dataflow_runner.DataflowRunner",
        "perfnet-tf[gcp]",
        ("google.cloud.storage", "apitools"),
    ),
}


def runner_options(
    runner: str | None, dask_address: str | None, beam_options: Sequence[str]
) -> list[str]:
    """Beam's options of `prepare`'s arguments.

    Args:
        runner: name of a runner, such as `dask` or `FlinkRunner`; None: `beam_options` name it.
        dask_address: of a Dask scheduler, such as `tcp://HOST:8786`.
        beam_options: further options of Beam.

    Raises:
        InputError: a runner is named twice, or there is an address without `dask`.
    """
    named = runner_name(beam_options)
    if runner is not None and named is not None:
        raise InputError(
            f"A runner is named once. Received: `runner={runner}`, and {_FLAG}={named} in "
            "`beam_options`. Leave one out."
        )
    name = runner or named
    if dask_address is not None and (name is None or _short(name) != "dask"):
        raise InputError(
            f"`dask_address` is for `runner=dask`. Received: {dask_address} with "
            f"{'no runner' if name is None else name}."
        )
    options = [*beam_options]
    if dask_address is not None:
        options.insert(0, f"--dask_client_address={dask_address}")
    return options if runner is None else [f"{_FLAG}={runner}", *options]


def runner_name(beam_options: Sequence[str]) -> str | None:
    """The runner that options name; None without one."""
    for position, option in enumerate(beam_options):
        name, equals, value = option.partition("=")
        if name == _FLAG:
            return value if equals else "".join(beam_options[position + 1 : position + 2])
    return None


def bucket_options(beam_options: Sequence[str]) -> list[str]:
    """The options without the runner: they say how to reach buckets."""
    return _without_runner(beam_options)


def check_beam(needed_for: str, extra: str = "cluster") -> None:
    """Raises `InputError` unless Apache Beam is installed."""
    if missing_modules("apache_beam"):
        raise InputError(
            f"{needed_for} need Apache Beam, which is not installed. Run: "
            f'pip install "perfnet-tf[{extra}]".'
        )


def resolve_options(beam_options: Sequence[str]) -> list[str]:
    """`beam_options` with the runner's class and its defaults, for `PipelineOptions`.

    Raises:
        InputError: no runner, an unknown one, or one whose packages are missing.
    """
    name = runner_name(beam_options)
    if not name:
        raise InputError(
            "`beam_options` must name a runner, such as --runner=FlinkRunner; without options the "
            f"work is done on this machine. Received: {' '.join(beam_options)}."
        )
    check_beam("`beam_options` and `runner`")
    runner = _RUNNERS.get(_short(name))
    if runner is not None:
        _check_modules(name, runner)
    path = runner.path if runner else _beam_path(name)
    _import_runner(name, path)
    given = {option.partition("=")[0].removeprefix("--") for option in beam_options}
    defaults = [
        f"--{option}={value}"
        for option, value in (runner.defaults.items() if runner else ())
        if not given & {option, (runner.instead if runner else {}).get(option, option)}
    ]
    return [f"{_FLAG}={path}", *defaults, *_without_runner(beam_options)]


def _short(name: str) -> str:
    return name.rpartition(".")[2].lower().removesuffix("runner")


def _check_modules(name: str, runner: _Runner) -> None:
    missing = missing_modules(*runner.modules)
    if missing:
        raise InputError(
            f"`runner={name}` needs the packages {' and '.join(runner.modules)}. Received: no "
            f'{" and no ".join(missing)}. Run: pip install "{runner.install}".'
        )


def _beam_path(name: str) -> str:
    """Full name of a class that Beam knows by a short one."""
    if "." in name:
        return name
    from apache_beam.options.pipeline_options import StandardOptions

    known = {_short(path): path for path in StandardOptions.ALL_KNOWN_RUNNERS}
    check_choice("`runner`", _short(name), sorted({*known, *_RUNNERS}))
    return str(known[_short(name)])


def _import_runner(name: str, path: str) -> None:
    module, _, attribute = path.rpartition(".")
    try:
        getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"`runner` must be one that Apache Beam can import. Received: {name} "
            f"({first_line(error)}). Install the packages that it needs, or choose another."
        ) from error


def _without_runner(beam_options: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for option in beam_options:
        if skip:
            skip = False
        elif option == _FLAG:
            skip = True
        elif not option.startswith(f"{_FLAG}="):
            kept.append(option)
    return kept
