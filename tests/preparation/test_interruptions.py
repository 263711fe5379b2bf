"""Preparations that are interrupted, resumed, or shared by workers that die."""

import collections
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from small_clips import find_clips, write_video
from small_preparation import CONFIG, contents, prepare, stored_ids

from perfnet_tf.errors import InputError
from perfnet_tf.preparation import build
from perfnet_tf.preparation.build import PreparationError
from perfnet_tf.preparation.staging import Journal, Staging, exclusive
from perfnet_tf.preparation.worker_process import WorkerProcess
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_dataset_info, read_failures


def test_clips_that_fail_are_tried_again_until_the_dataset_is_complete(tmp_path):
    bad = tmp_path / "videos" / "Up" / "clip1.mp4"
    bad.parent.mkdir(parents=True)
    bad.write_text("nothing yet")
    output = tmp_path / "records"
    with pytest.raises(PreparationError, match="None of the 1 clips.*failures.jsonl"):
        prepare(bad.parents[1], output)
    (failure,) = read_failures(output)
    assert failure.clip_id == "Up/clip1" and not failure.kept
    with pytest.raises(InputError, match="not finished"):
        read_dataset_info(output)
    write_video(bad, frames=6)
    assert prepare(bad.parents[1], output).info.num_failed == 0
    assert stored_ids(output) == ["Up/clip1"] and read_failures(output) == []


def test_parts_of_an_earlier_run_are_used_and_damaged_ones_made_again(
    videos, prepared, tmp_path, monkeypatch
):
    clips = find_clips(videos)
    output = tmp_path / "records"
    # The run stops after its clips are made, before any shard.
    monkeypatch.setattr(build, "write_dataset", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(videos, output)
    monkeypatch.undo()
    staging = Staging(output)
    times = {c.clip_id: staging.part(c.key).stat().st_mtime_ns for c in clips}
    cut, lost = clips[1], clips[4]
    os.truncate(staging.part(cut.key), 100)
    staging.part(lost.key).unlink()
    journal = next(staging.folder.glob("journal-*.jsonl"))
    journal.write_text(journal.read_text() + '{"key": "killed while wri')
    made = []
    run = build.make_records
    monkeypatch.setattr(
        build,
        "make_records",
        lambda pending, *rest, **options: (made.extend(pending), run(pending, *rest, **options)),
    )
    result = prepare(videos, output)
    assert made == [cut, lost] and result.num_made == 2
    assert len(times) == 8 and contents(output) == contents(prepared)


@pytest.mark.parametrize("shards_written", [1, 3])
def test_run_killed_while_shards_are_written_resumes(
    videos, prepared, tmp_path, monkeypatch, shards_written
):
    from perfnet_tf.preparation import shards

    output = tmp_path / "records"
    write_shard, written = shards.write_shard, []

    def killed(path, *rest):
        if len(written) == shards_written:
            raise KeyboardInterrupt
        written.append(path)
        return write_shard(path, *rest)

    monkeypatch.setattr(shards, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(videos, output)
    monkeypatch.undo()
    parts = list((output / schema.PARTS_FOLDER).rglob("*.tfrecord"))
    assert len(parts) == 8 - 2 * shards_written  # never twice on the disk
    assert prepare(videos, output).num_made == 0
    assert contents(output) == contents(prepared)


def test_two_runs_at_once_on_one_output_are_refused(videos, tmp_path):
    with exclusive(tmp_path), pytest.raises(InputError, match="Another perfnet prepare"):
        prepare(videos, tmp_path)


def test_two_workers_share_the_clips_and_give_the_same_records(videos, prepared, tmp_path):
    spread = collections.Counter()
    written = Journal.write
    turn = threading.Barrier(2)  # otherwise the worker that starts first could make them all

    def write(self, outcome):
        turn.wait(timeout=120)
        spread[self._path.name] += 1
        written(self, outcome)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "write", write)
        prepare(videos, tmp_path / "records", workers=2)
    assert sorted(spread.values()) == [4, 4]
    assert contents(tmp_path / "records") == contents(prepared)


def test_worker_that_dies_over_a_clip_is_replaced_and_the_clip_counted(videos, tmp_path):
    output = tmp_path / "records"
    staging = Staging(output)
    output.mkdir()
    staging.begin({})
    worker = WorkerProcess(staging, CONFIG, num_threads=1)
    clips = find_clips(videos)
    try:
        first = worker._child
        os.kill(first.pid, signal.SIGSEGV)
        assert worker(clips[0]).ok  # the second try, in a new process
        assert worker._child.pid != first.pid

        def start_doomed():
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            worker._child = subprocess.Popen(["sh", "-c", "read clip; kill -KILL $$"], **pipes)

        worker._start = start_doomed
        os.kill(worker._child.pid, signal.SIGABRT)
        outcome = worker(clips[1])
        assert not outcome.ok and "killed by SIGKILL" in outcome.cause
        assert outcome.key == clips[1].key
    finally:
        worker.close()
    assert worker(clips[2]) is None


def test_killed_run_resumes_without_a_clip_lost_or_doubled(videos, prepared, tmp_path):
    output = tmp_path / "records"
    script = tmp_path / "run.py"
    reference = pathlib.Path(__file__).parents[1] / "reference"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, time
            sys.path.insert(0, {str(reference)!r})
            from small_clips import CLASSES, find_clips
            from perfnet_tf.preparation import staging
            from perfnet_tf.preparation.build import PrepareConfig, build_records
            write = staging.Journal.write
            def slowly(self, outcome):
                write(self, outcome)
                time.sleep(1)
            staging.Journal.write = slowly
            config = PrepareConfig(**{dataclasses.asdict(CONFIG)!r})
            build_records(find_clips(__import__("pathlib").Path({str(videos)!r})),
                          {str(output)!r}, config, CLASSES, workers=1)
            """
        )
    )
    run = subprocess.Popen([sys.executable, str(script)])
    folder = output / schema.PARTS_FOLDER
    deadline = time.monotonic() + 120
    try:
        while sum(p.read_text().count("\n") for p in folder.glob("journal-*")) < 3:
            assert run.poll() is None and time.monotonic() < deadline, run.poll()
            time.sleep(0.1)
        with pytest.raises(InputError, match="Another perfnet prepare"):
            prepare(videos, output)
        worker = _child_of(run.pid)
    finally:
        run.kill()
        run.wait()
    done = sum(outcome.ok for outcome in Staging(output).outcomes().values())
    assert 3 <= done < 8
    result = prepare(videos, output)
    assert result.num_made == 8 - done
    assert contents(output) == contents(prepared)
    while _is_running(worker):  # it notices that it is alone
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _child_of(pid: int) -> int:
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    (child,) = {int(c) for path in children for c in path.read_text().split()}
    return child


def _is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_worker_that_cannot_start_says_why(videos, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    weights.mkdir()
    config = dataclasses.replace(CONFIG, pose="posenet", pose_weights=str(weights))
    with pytest.raises(InputError, match=str(weights)):
        prepare(videos, tmp_path / "records", config, workers=1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PreparationError, match="did not start.*Rerun"):
        prepare(videos, tmp_path / "other", workers=1)
