"""Which runs a table needs, in which folders, and which of them are finished."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from perfnet_tf.config import ExperimentConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.recognizers import run_directory
from perfnet_tf.recognizers.load import load
from perfnet_tf.recognizers.pretrained import is_pretrained
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.records.schema import DatasetInfo
from perfnet_tf.reproduction.settings import Settings, network_config
from perfnet_tf.reproduction.tables import EARLIER_NETWORKS, Network, PaperRow, networks_of
from perfnet_tf.streams import POSE
from perfnet_tf.training.finetuning import network_of
from perfnet_tf.training.run_identity import RECORDS_DIGEST, describe_run, differences
from perfnet_tf.training.sources import describe, describe_dataset


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Attributes:
        name: of its folder.
        network: what is trained.
        backbone: of the network.
        seed: of the run.
        config: everything that decides it but data, teachers and first weights.
        teachers: stream -> name of the run that teaches.
        initial: the run whose weights are the first, or its folder, or None.
        start: name of the planned run whose weights are the first, before `initial`; or None.
    """

    name: str
    network: Network
    backbone: str
    seed: int
    config: ExperimentConfig
    teachers: Mapping[str, str] = field(default_factory=dict)
    initial: Run | str | None = None
    start: str | None = None


@dataclass(frozen=True)
class Workspace:
    """Folders of a reproduction.

    Attributes:
        path: holds `runs/` and `evaluation/`, and a folder for each table's report.
    """

    path: pathlib.Path

    def run(self, name: str) -> pathlib.Path:
        """Folder of a run."""
        return self._folder("runs", name)

    def evaluation(self, name: str) -> pathlib.Path:
        """What the run `name` says about the clips that it is measured on."""
        return self._folder("evaluation", name)

    def table(self, name: str) -> pathlib.Path:
        """The report of a table."""
        return self.path / name

    def _folder(self, parent: str, name: str) -> pathlib.Path:
        """Of a run; the one that an earlier version made, under another name, if there is one."""
        folder = self.path / parent / name
        for current, earlier in EARLIER_NETWORKS.items():
            other = folder.with_name(name.replace(f"-{current}-", f"-{earlier}-"))
            if other != folder and other.exists():
                return other
        return folder


def run_name(network: str, backbone: str, seed: int) -> str:
    """Name of a run: the same in every table that needs it."""
    return f"{backbone}-{network}-seed{seed}"


def partner_seed(seeds: Sequence[int], seed: int) -> int:
    """The other run's seed where a row fuses two runs of one network.

    With three seeds or more that is the next one, so that no run is trained for it alone.
    """
    position = seeds.index(seed) + 1
    if position < len(seeds):
        return seeds[position]
    return seeds[0] if len(seeds) > 2 else max(seeds) + 1


def row_runs(row: PaperRow, backbone: str, seeds: Sequence[int], seed: int) -> tuple[str, ...]:
    """Names of the runs whose logits a row sums, for one of the seeds."""
    names = []
    for network in row.networks:
        name = run_name(network, backbone, seed)
        names.append(
            run_name(network, backbone, partner_seed(seeds, seed)) if name in names else name
        )
    return tuple(names)


def rows_by_backbone(
    rows: Sequence[PaperRow], backbones: Iterable[str], *, only_stated: bool
) -> dict[str, tuple[PaperRow, ...]]:
    """The rows to measure with each backbone.

    Args:
        rows: of a table.
        backbones: to train.
        only_stated: leave out what the paper does not state for a backbone, and backbones for
            which it states nothing.
    """
    result = {}
    for backbone in backbones:
        kept = tuple(
            row for row in rows if not only_stated or not row.paper or backbone in row.paper
        )
        if any(backbone in row.paper for row in kept) or not only_stated:
            result[backbone] = kept
    return result


def begin_with(settings: Settings, start: str) -> Settings:
    """The settings for the network of `start`, whose weights all networks of a table begin with.

    Args:
        settings: those of its backbone are taken, or the first; dropout and weight decay stay.
        start: what `load` takes with `trainable`: a pretrained network, a run, or an export.

    Raises:
        InputError: no such network.
    """
    initial = load(start, trainable=True).run().config
    backbone = initial.model.backbone
    kinds = settings.get(backbone) or next(iter(settings.values()))
    return {
        backbone: {
            kind: config.replace(model=network_of(initial, config))
            for kind, config in kinds.items()
        }
    }


def plan_runs(
    rows: Mapping[str, Sequence[PaperRow]],
    settings: Settings,
    seeds: Sequence[int],
    *,
    initial: Sequence[str] = (),
    start: str | None = None,
    student_start: str | None = None,
) -> tuple[PlannedRun, ...]:
    """The runs that rows need, in the order to train them: seed by seed, teachers first.

    Args:
        rows: backbone -> rows.
        settings: backbone -> kind -> configuration.
        seeds: each trains every network once.
        initial: folders of runs; a network starts from the one of its backbone and stream.
        start: what all others start from, whatever their stream (`begin_with`); None: nothing.
        student_start: name of the network whose weights students start from; None: of none.

    Raises:
        InputError: no or repeated seeds, initial runs that are none or not told apart, or a network
            to start from whose input is not the student's.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise InputError(
            f"`seeds` takes different whole numbers from 0 on. Received: {list(seeds) or 'none'}."
        )
    if student_start is not None:
        # Of flow, the first convolution has other channels.
        check_choice("`student_start`", student_start, (POSE,))
    first_weights = _initial_runs(initial)
    if start is not None and not is_pretrained(start):
        start = str(pathlib.Path(start).resolve())
    planned: dict[str, PlannedRun] = {}
    for seed in seeds:
        for backbone, its_rows in rows.items():
            wanted: dict[str, set[int]] = {}
            for network in networks_of(tuple(its_rows), student_start):
                wanted[network.name] = {seed}
                if any(row.networks.count(network.name) > 1 for row in its_rows):
                    wanted[network.name].add(partner_seed(seeds, seed))
            for network in networks_of(tuple(its_rows), student_start):
                for one in sorted(wanted[network.name], key=lambda s: s != seed):
                    run = _plan(
                        network, backbone, one, settings, first_weights, start, student_start
                    )
                    planned.setdefault(run.name, run)
    return tuple(planned.values())


def _plan(
    network: Network,
    backbone: str,
    seed: int,
    settings: Settings,
    first_weights: Mapping[tuple[str, str], str],
    common_start: str | None,
    student_start: str | None,
) -> PlannedRun:
    teachers = {name: run_name(name, backbone, seed) for name in network.teachers}
    start = network.starts_from(student_start)
    return PlannedRun(
        name=run_name(network.name, backbone, seed),
        network=network,
        backbone=backbone,
        seed=seed,
        config=network_config(network, settings[backbone], seed),
        teachers=teachers,
        initial=first_weights.get((backbone, network.stream), common_start),
        start=run_name(start, backbone, seed) if start else None,
    )


def _initial_runs(folders: Sequence[str]) -> dict[tuple[str, str], str]:
    """(backbone, stream) -> the run's folder."""
    result: dict[tuple[str, str], str] = {}
    for folder in folders:
        config, _, _ = run_directory.read_run(folder)
        key = (config.model.backbone, config.stream)
        if key in result:
            raise InputError(
                "`initial` takes one run for each backbone and stream. Received: "
                f"{result[key]} and {folder}, both {key[0]} for {key[1]}."
            )
        result[key] = str(pathlib.Path(folder).resolve())
    return result


def missing_runs(
    plan: Sequence[PlannedRun], workspace: Workspace, info: DatasetInfo
) -> tuple[PlannedRun, ...]:
    """The runs that are not finished yet; looks at all of them before anything is trained.

    Raises:
        InputError: a folder holds a run that is not the one that is wanted.
    """
    missing = []
    for run in plan:
        folder = workspace.run(run.name)
        if not run_directory.is_run(folder):
            missing.append(run)
            continue
        changed = run_differences(run, workspace, info)
        if changed:
            shown = "; ".join(changed[:3])
            more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise InputError(
                f"{folder} holds another run than is wanted now: {shown}{more}. "
                "Choose another `output`, delete that folder, or give the settings that made it."
            )
        record = run_directory.read_run(folder)[2]
        if record["status"] != run_directory.FINISHED:
            missing.append(run)
    return tuple(missing)


def run_differences(run: PlannedRun, workspace: Workspace, info: DatasetInfo) -> list[str]:
    """How the run in the workspace differs from the planned one, for people; empty: not at all."""
    config, classes, record = run_directory.read_run(workspace.run(run.name))
    old, new = describe_run(config, classes), describe_run(run.config, info.classes)
    data = record.get("dataset") or {}
    described = describe_dataset(info, "train")
    for key in ("name", "num_clips", RECORDS_DIGEST):
        if key in data or key != RECORDS_DIGEST:
            old[f"data.{key}"], new[f"data.{key}"] = data.get(key), described[key]
    old["teachers"] = sorted(record.get("teachers") or {})
    new["teachers"] = sorted(run.teachers)
    old["initial"] = record.get("initial")
    new["initial"] = None if run.initial is None else describe(run.initial)
    if run.start is not None:
        # Whatever folder the workspace has been moved to.
        old["initial"] = pathlib.Path(record.get("initial") or "none").name
        new["initial"] = run.start
    taught = record.get("teacher_weights_sha256") or {}
    for stream, teacher in run.teachers.items():
        digest = weights_digest(workspace.run(teacher))
        if stream in taught and digest is not None:
            old[f"weights of the teacher {stream}"] = taught[stream]
            new[f"weights of the teacher {stream}"] = digest
    return list(differences(old, new).values())


def weights_digest(folder: pathlib.Path) -> str | None:
    """SHA-256 of a finished run's weights, hexadecimal; None if it has none."""
    files = sorted(folder.glob(f"{run_directory.WEIGHTS_PREFIX}.*"))
    if not (folder / f"{run_directory.WEIGHTS_PREFIX}.index").exists():
        return None
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()
