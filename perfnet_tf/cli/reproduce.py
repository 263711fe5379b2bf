"""`perfnet reproduce`: the paper's tables, our figures next to the paper's."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from typing import TYPE_CHECKING

from absl import flags

from perfnet_tf.cli.command import Command, FlagSet
from perfnet_tf.cli.experiment_flags import (
    apply_flags,
    define_device_flags,
    define_setting_flags,
    devices,
)
from perfnet_tf.cli.named_values import parse_named_values
from perfnet_tf.cli.view_flags import define_view_flag, windows_and_crops
from perfnet_tf.config import DistillConfig, ExperimentConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.reproduction.settings import (
    REPRODUCTION_PRESETS,
    Settings,
    choose_settings,
)
from perfnet_tf.reproduction.tables import (
    FEW_CLIPS,
    KINDS,
    TABLE_NAMES,
    TABLES,
    current_row_name,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from perfnet_tf.reproduction.reproduce import ReproduceConfig
    from perfnet_tf.reproduction.runner import Execution


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Trains and measures the networks of a table of the paper; reports ours next to its figures.

    table2: renderings of the pose stream. table3: late fusion of RGB, flow and pose. table4: RGB
    students of flow and pose. table6: the three streams and the student on Kinetics-700. table7:
    students fine-tuned on every official split of UCF-101 and HMDB-51. Not of the paper: terms,
    students by how they match their teachers; few_clips, networks and students by how many clips of
    each class have a label (--counts).

    OUTPUT/runs/BACKBONE-NETWORK-seedN are the networks: all tables with one OUTPUT share them, and
    what is finished is not trained again. Rerun the command to resume. The report
    is OUTPUT/TABLE/report.html and report.md, with results.json and per_class.csv.

    --validation holds a part of the training groups out, in OUTPUT/validationN, and never looks at
    the test clips: for choosing settings. --flow, --pose, --rgb and --student take flags for the
    networks of that kind alone, quoted: --flow='--epochs=40 --dropout=0.3'.
    """
    if len(positional) != 1:
        raise InputError(
            f"One table is named: {', '.join(TABLE_NAMES)}. "
            f"Received: {' '.join(positional) or 'none'}."
        )
    name = positional[0]
    check_choice("TABLE", name, TABLE_NAMES)
    _check_flags_of(name, arguments)
    if name == "table7":
        return _run_table7(arguments)
    if name == FEW_CLIPS.name:
        return _run_few_clips(arguments)
    for row in arguments.rows:
        if row != current_row_name(row):
            print(f"note: the row {row} is called {current_row_name(row)}", file=sys.stderr)
    strategy = devices(arguments)
    from perfnet_tf.reproduction.reporting import format_results
    from perfnet_tf.reproduction.reproduce import reproduce_table

    reproduction, report = reproduce_table(
        reproduce_config(arguments, name),
        arguments.data,
        arguments.output,
        command=_command_line(arguments, name),
        execution=_execution(arguments, strategy),
    )
    print(format_results(reproduction))
    for note in reproduction.notes:
        print(f"note: {note}")
    print(f"report: {report}")
    return 0


def reproduce_config(arguments: flags.FlagValues, table: str) -> ReproduceConfig:
    """What the flags ask for, of one of `TABLES`."""
    from perfnet_tf.reproduction.reproduce import ReproduceConfig

    return ReproduceConfig(
        table=TABLES[table],
        settings=_settings(arguments),
        preset=arguments.preset,
        rows=tuple(arguments.rows),
        seeds=_numbers("seeds", arguments.seeds),
        initial=tuple(arguments.initial),
        start=_start(arguments),
        student_start=_student_start(arguments),
        split=arguments.split,
        validation_fold=arguments.validation_fold if arguments.validation else None,
        every_row=arguments.backbone is not None,
        views=_views(arguments),
    )


def _run_table7(arguments: flags.FlagValues) -> int:
    strategy = devices(arguments)
    from perfnet_tf.recognizers.load import load
    from perfnet_tf.reproduction.formatting import format_text_table
    from perfnet_tf.reproduction.table7 import finetuning_table, reproduce_table7

    starts = parse_named_values("from", arguments["from"].value)
    if not starts:
        raise InputError(
            "table7 needs --from=NAME=RUN,...: the students to fine-tune. kinetics600 and "
            "kinetics700 are the names that the paper has figures for."
        )
    rows, report = reproduce_table7(
        {name: load(os.path.abspath(run), trainable=True).run() for name, run in starts.items()},
        arguments.data.split(","),
        arguments.output,
        preset=arguments.preset,
        seeds=_numbers("seeds", arguments.seeds),
        change=lambda config: apply_flags(arguments, config),
        command=_command_line(arguments, "table7"),
        execution=_execution(arguments, strategy),
    )
    table = finetuning_table(rows)
    print(format_text_table(table))
    for note in table.notes:
        print(f"note: {note}")
    print(f"report: {report}")
    return 0


def _run_few_clips(arguments: flags.FlagValues) -> int:
    strategy = devices(arguments)
    from perfnet_tf.reproduction.few_clips import (
        FewClipsConfig,
        format_few_clips,
        parse_counts,
        reproduce_few_clips,
    )

    config = FewClipsConfig(
        settings=_settings(arguments),
        preset=arguments.preset,
        counts=parse_counts(arguments.counts),
        seeds=_numbers("seeds", arguments.seeds),
        rows=tuple(arguments.rows),
        initial=tuple(arguments.initial),
        start=_start(arguments),
        student_start=_student_start(arguments),
        views=_views(arguments),
    )
    result, report = reproduce_few_clips(
        config,
        arguments.data,
        arguments.output,
        command=_command_line(arguments, FEW_CLIPS.name),
        execution=_execution(arguments, strategy),
    )
    print(format_few_clips(result))
    print(f"report: {report}")
    return 0


def _views(arguments: flags.FlagValues) -> tuple[int, int]:
    if arguments.views is None:
        return REPRODUCTION_PRESETS[arguments.preset].views
    return windows_and_crops(arguments)


def _start(arguments: flags.FlagValues) -> str | None:
    return arguments.start or REPRODUCTION_PRESETS[arguments.preset].start


def _execution(arguments: flags.FlagValues, strategy: tf.distribute.Strategy) -> Execution:
    from perfnet_tf.reproduction.runner import Execution

    return Execution(strategy, arguments.jit_compile, arguments.deterministic, arguments.progress)


#: Flags that choose a network.
_OF_NETWORKS = ("backbone", "width_multiplier", "gating")
#: Flags that table 7 has no use for; it alone has `--from`.
_NOT_OF_TABLE7 = (
    *KINDS,
    "rows",
    "validation",
    "validation_fold",
    "split",
    "views",
    "initial",
    "start",
    "student_start",
    "teacher_weight",
    *_OF_NETWORKS,
)

_NOT_OF_FEW_CLIPS = ("from", "validation", "validation_fold", "split")


def _check_flags_of(table: str, arguments: flags.FlagValues) -> None:
    """Refuses what would be ignored."""
    names = {"table7": (*_NOT_OF_TABLE7, "counts"), FEW_CLIPS.name: _NOT_OF_FEW_CLIPS}.get(
        table, ("from", "counts")
    )
    given = [name for name in names if arguments[name].present]
    if given:
        raise InputError(f"{table} has no --{given[0]}. See perfnet reproduce --help.")


def _settings(arguments: flags.FlagValues) -> Settings:
    """The preset's, changed by the flags for all networks, then by those for each kind."""
    check_choice("--preset", arguments.preset, REPRODUCTION_PRESETS)
    kind_flags = {kind: _parse_kind_flags(kind, arguments[kind].value) for kind in KINDS}
    start = _start(arguments)
    if start is not None:
        for given in (arguments, *kind_flags.values()):
            _refuse_network_flags(given, start)

    def change(kind: str, config: ExperimentConfig) -> ExperimentConfig:
        config = apply_flags(arguments, config)
        if kind == "student" and arguments.teacher_weight:
            usual = config.distill or DistillConfig()
            weights = {**usual.teacher_weights, **_weights(arguments)}
            config = config.replace(distill=dataclasses.replace(usual, teacher_weights=weights))
        return apply_flags(kind_flags[kind], config)

    settings = choose_settings(arguments.preset, change, backbone=arguments.backbone)
    if start is None:
        return settings
    from perfnet_tf.reproduction.plan import begin_with

    return begin_with(settings, start)


def _refuse_network_flags(arguments: flags.FlagValues, start: str) -> None:
    """Raises `InputError` if flags choose a network, which --start does."""
    given = [name for name in _OF_NETWORKS if arguments[name].present]
    if given:
        raise InputError(
            f"--start gives the network, here {start}. Received: --{given[0]} as well. Leave it "
            "out, or choose another --start."
        )


def _parse_kind_flags(kind: str, text: str | None) -> flags.FlagValues:
    own = FlagSet()
    define_setting_flags(own, network=True)
    try:
        rest = own.parse(shlex.split(text or ""))
    except ValueError as error:
        raise InputError(f"--{kind}: {str(error).rstrip('.')}.") from error
    if rest:
        raise InputError(f"--{kind} takes flags, --NAME=VALUE. Received: {' '.join(rest)}.")
    return own.flags


def _weights(arguments: flags.FlagValues) -> dict[str, float]:
    """One weight for every term, or NAME=WEIGHT pairs."""
    words = arguments.teacher_weight
    terms = ("flow", "pose", "unified")
    values: dict[str, str] = {}
    for word in words:
        pair = parse_named_values("teacher_weight", [word]) if "=" in word else None
        values.update(dict.fromkeys(terms, word) if pair is None else pair)
    for name in values:
        check_choice("--teacher_weight", name, terms)
    try:
        return {name: float(value) for name, value in values.items()}
    except ValueError as error:
        raise InputError(
            "--teacher_weight is one number, or NAME=NUMBER for flow, pose and unified. "
            f"Received: {','.join(words)}."
        ) from error


def _student_start(arguments: flags.FlagValues) -> str | None:
    if arguments.student_start is None:
        return None if arguments.start else REPRODUCTION_PRESETS[arguments.preset].student_start
    return None if arguments.student_start == "none" else arguments.student_start


def _numbers(flag: str, words: list[str]) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words)
    except ValueError as error:
        raise InputError(
            f"--{flag} takes whole numbers, comma separated. Received: {','.join(words)}."
        ) from error


def _command_line(arguments: flags.FlagValues, table: str) -> str:
    """The command with the flags that were given."""
    words = ["perfnet", "reproduce", table]
    for name in sorted(arguments):
        flag = arguments[name]
        if flag.present and name != "progress":
            value = ",".join(flag.value) if isinstance(flag.value, list) else flag.value
            text = str(value).lower() if isinstance(value, bool) else str(value)
            words.append(f"--{name}={text}")
    return shlex.join(words)


COMMAND = Command(
    "reproduce",
    f"{'|'.join(TABLE_NAMES)} --data=DIR --output=DIR [--preset=mini]",
    _run,
    positional="TABLE",
)
COMMAND.string("data", None, "Prepared dataset; for table7 several, comma separated.")
COMMAND.string("output", None, "Folder of networks and reports: new, or of an earlier call.")
COMMAND.string(
    "preset",
    "paper",
    f"{', '.join(REPRODUCTION_PRESETS)}: the paper's settings, for a TPU slice; small networks "
    "from scratch, for a CPU; networks with Kinetics weights. Other flags change them.",
)
COMMAND.list("seeds", ["0"], "Random seeds; each trains every network once.")
COMMAND.list(
    "counts",
    ["1", "2", "4", "8", "16", "all"],
    "few_clips: labelled clips of each class; every seed draws its own.",
)
COMMAND.list("rows", [], "Names of the table's rows, comma separated; default: all.")
COMMAND.boolean(
    "validation",
    False,
    "Hold out a part of the training groups and measure on it.",
    argument="validation_fold",
)
COMMAND.integer("validation_fold", 0, "Which of four parts is held out, 0 to 3.")
COMMAND.string("split", None, "Split to measure on; default: val for Kinetics, test for others.")
define_view_flag(COMMAND, {name: preset.views for name, preset in REPRODUCTION_PRESETS.items()})
COMMAND.list(
    "initial",
    [],
    "Runs, comma separated, whose weights the networks of their backbone and stream start from.",
)
COMMAND.string(
    "start",
    None,
    "Pretrained network, run or export whose architecture and weights all networks start from, "
    "whatever their stream; default: i3d_kinetics400 for finetune_i3d, none for the others.",
)
COMMAND.string(
    "student_start",
    None,
    "pose: students start from the pose network's weights; none: like other networks. Default: "
    "none for paper and finetune_i3d and with --start, pose for the other presets.",
)
COMMAND.list(
    "from",
    [],
    "table7: NAME=RUN, comma separated, of the runs or SavedModels to fine-tune.",
    argument="starts",
)
COMMAND.list(
    "teacher_weight",
    [],
    "Weight of the students' squared errors: one number, or NAME=NUMBER for some of flow, pose and "
    "unified; where it is not given, the preset's, or 1.",
)
for _kind in KINDS:
    COMMAND.string(_kind, None, f"Flags for the {_kind} networks only, quoted.")
define_setting_flags(COMMAND, network=True)
define_device_flags(COMMAND)
COMMAND.require("data", "output")
