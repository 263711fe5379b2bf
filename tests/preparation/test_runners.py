"""Runners of Apache Beam: their names, and that their records are those of one machine."""

import importlib.util
import subprocess
import sys
import threading

import pytest
from small_clips import find_clips
from small_preparation import CONFIG, contents, prepare

from perfnet_tf.errors import InputError
from perfnet_tf.preparation import prepare as command
from perfnet_tf.preparation import shared_workers
from perfnet_tf.preparation.runners import resolve_options, runner_options
from perfnet_tf.preparation.shared_workers import RecordMaker, SharedWorkers
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.preparation.worker import LocalWorker

DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"


def test_cluster_runs_need_a_runner_and_beam(videos, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="must name a runner.*Received: --streaming"):
        prepare(videos, tmp_path / "records", beam_options=["--streaming"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "perfnet-tf\[cluster\]"'):
        prepare(videos, tmp_path / "records", beam_options=["--runner=FlinkRunner"])
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runner": "dask", "beam_options": ["--runner=FlinkRunner"]}, "named once.*FlinkRunner"),
        ({"runner": "dask", "beam_options": ["--runner", "flink"]}, "named once.*=flink"),
        ({"dask_address": "tcp://a:1"}, "is for `runner=dask`. Received: tcp://a:1 with no runner"),
        ({"dask_address": "tcp://a:1", "runner": "flink"}, "with flink"),
    ],
)
def test_runners_that_contradict_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        command.prepare(tmp_path, tmp_path / "records", **arguments)


def test_an_unknown_runner_is_refused_with_the_known_ones(tmp_path):
    pytest.importorskip("apache_beam")
    with pytest.raises(InputError, match="one of .*dask, dataflow, .*flink.*Did you mean 'dask'"):
        command.prepare(tmp_path, tmp_path / "records", runner="daks")
    for name in ("nowhere.at.all.Runner", "apache_beam.runners.runner.NoSuchRunner"):
        with pytest.raises(InputError, match=rf"can import. Received: {name} \(.+\). Install"):
            resolve_options([f"--runner={name}"])


def test_a_runner_whose_packages_are_missing_says_what_to_install(monkeypatch):
    pytest.importorskip("apache_beam")
    find_spec = importlib.util.find_spec
    absent = ("distributed", "google")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name.split(".")[0] in absent else find_spec(name),
    )
    with pytest.raises(InputError, match=r'no .*distributed. Run: pip install "perfnet-tf\[dask\]'):
        resolve_options(["--runner=dask"])
    with pytest.raises(InputError, match=r'pip install "perfnet-tf\[gcp\]"'):
        resolve_options(["--runner=DataflowRunner"])


def test_dask_gets_one_clip_per_task_and_its_address():
    pytest.importorskip("distributed", reason='needs pip install "perfnet-tf[dask]"')
    options = runner_options("dask", "tcp://a:1", ["--dask_client_name=me"])
    assert resolve_options(options) == [
        f"--runner={DASK}",
        "--dask_partition_size=1",
        "--dask_client_address=tcp://a:1",
        "--dask_client_name=me",
    ]
    for given in ("--dask_partition_size=3", "--dask_npartitions=3"):
        assert resolve_options(["--runner", "DaskRunner", given]) == [f"--runner={DASK}", given]


def test_other_runners_get_the_options_as_they_are():
    pytest.importorskip("apache_beam")
    flink = "apache_beam.runners.portability.flink_runner.FlinkRunner"
    assert resolve_options(runner_options("flink", None, ["--flink_master=a:1"])) == [
        f"--runner={flink}",
        "--flink_master=a:1",
    ]
    assert resolve_options([f"--runner={flink}"]) == [f"--runner={flink}"]


class FakeMaker:
    def __init__(self):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


def test_workers_are_shared_between_bundles_but_not_between_threads():
    shared = SharedWorkers(idle_seconds=1e4)
    with shared.lend("a", FakeMaker) as first, shared.lend("a", FakeMaker) as second:
        assert first is not second
    with shared.lend("b", FakeMaker) as other, shared.lend("a", FakeMaker) as third:
        assert third in (first, second) and other not in (first, second)
    with pytest.raises(OSError), shared.lend("a", FakeMaker) as failing:
        raise OSError
    assert failing.closed.is_set()
    shared.close_idle(1e4)
    assert not other.closed.is_set()
    shared.close_idle()
    assert all(maker.closed.is_set() for maker in (first, second, other))


def test_a_worker_that_nothing_needs_ends():
    shared = SharedWorkers(idle_seconds=0.05)
    with shared.lend("a", FakeMaker) as maker:
        assert not maker.closed.is_set()
    assert maker.closed.wait(timeout=60)


def test_a_repeated_bundle_makes_nothing_again(videos, tmp_path, monkeypatch):
    clip, *_ = find_clips(videos)
    monkeypatch.setattr(
        shared_workers,
        "WorkerProcess",
        lambda staging, config, *_, **__: LocalWorker(staging, config),
    )
    staging = Staging(tmp_path)
    staging.begin({})
    maker = RecordMaker(staging, CONFIG, num_threads=1)
    try:
        outcome = maker(clip)
        written = staging.part(clip.key).stat().st_mtime_ns
        assert outcome.ok and maker(clip) == outcome
        assert staging.part(clip.key).stat().st_mtime_ns == written
        staging.part(clip.key).write_bytes(b"cut off")
        assert maker(clip).sha256 == outcome.sha256
    finally:
        maker.close()
    assert staging.part(clip.key).stat().st_size == outcome.size


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["direct", "dask"])
def test_a_runner_gives_the_same_records_and_is_quiet(videos, prepared, tmp_path, runner):
    pytest.importorskip("apache_beam")
    if runner == "dask":
        pytest.importorskip("distributed", reason='needs pip install "perfnet-tf[dask]"')
    options = ["--runner=direct"] if runner == "direct" else ["--runner=dask"]
    prepare(videos, tmp_path / "records", beam_options=options, workers=1)
    assert contents(tmp_path / "records") == contents(prepared)
    run = subprocess.run(
        [sys.executable, "-m", "perfnet_tf", "prepare", "--dataset=folder", f"--videos={videos}",
         f"--output={tmp_path / 'again'}", "--pose=none", "--flow=none", "--short_side=24",
         f"--runner={runner}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [line for line in run.stderr.replace("\r", "\n").splitlines() if "distributed" in line
            or "WARNING" in line or "ERROR" in line] == []  # fmt: skip
    assert "made 8 clips" in run.stdout
