"""`prepare` killed at any moment, started several times at once, and over thousands of clips."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from prepared_records import all_ids, intact_ids
from small_clips import CLASSES, write_video

from perfnet_tf.preparation.build import build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.records import schema
from perfnet_tf.records.folder import read_failures
from perfnet_tf.records.verification import verify_dataset

pytestmark = pytest.mark.slow


def test_twenty_kills_at_random_moments_lose_and_double_nothing(tmp_path):
    """The whole process group dies each time, at a moment drawn over all stages of a run."""
    videos = tmp_path / "videos"
    for number in range(60):
        write_video(videos / CLASSES[number % 2] / f"clip{number:02}.mp4", frames=12, seed=number)
    (videos / "Up" / "text1.mp4").write_text("no video\n" * 99)
    command = [
        sys.executable, "-m", "perfnet_tf", "prepare", "--dataset=folder", f"--videos={videos}",
        "--pose=none", "--flow=dis", "--short_side=24", "--clips_per_shard=4", "--workers=2",
    ]  # fmt: skip
    started = time.monotonic()
    subprocess.run([*command, f"--output={tmp_path / 'whole'}"], check=True, capture_output=True)
    duration = time.monotonic() - started
    whole = intact_ids(tmp_path / "whole")
    assert len(whole) == 60
    moments = random.Random(7)
    output = tmp_path / "killed"
    kills = 0
    log = open(tmp_path / "log.txt", "w")
    while kills < 20:
        run = subprocess.Popen(
            [*command, f"--output={output}"], stdout=log, stderr=log, start_new_session=True
        )
        try:
            run.wait(moments.uniform(0.5, 1.2) * duration)
            # It ended before its moment: from here on another output.
            assert run.returncode == 0, (tmp_path / "log.txt").read_text()[-3000:]
            assert intact_ids(output) == whole
            shutil.rmtree(output)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills += 1
            if moments.random() < 0.4 and output.exists():
                shutil.rmtree(output)  # most of a run's stages come before the first clip is made
    subprocess.run([*command, f"--output={output}"], check=True, capture_output=True)
    assert intact_ids(output) == whole
    assert [failure.clip_id for failure in read_failures(output)] == ["Up/text1"]
    ours, theirs = (
        {p.name: p.read_bytes() for p in f.iterdir()} for f in (output, tmp_path / "whole")
    )
    assert ours == theirs  # and nothing is left behind


def test_of_runs_that_start_at_once_on_one_output_one_continues(videos, tmp_path):
    output = tmp_path / "records"
    command = [
        sys.executable, "-m", "perfnet_tf", "prepare", "--dataset=folder", f"--videos={videos}",
        "--pose=none", "--flow=none", "--short_side=24", "--workers=1", f"--output={output}",
    ]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, **pipes) for _ in range(4)]
    said = [run.communicate() for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2, 2, 2]
    for run, (_, errors) in zip(runs, said, strict=True):
        if run.returncode:
            *classes, error = errors.splitlines()
            assert [line.startswith("folder: 2 classes") for line in classes] == [True]
            assert error.startswith("perfnet prepare: Another perfnet prepare is writing")
    assert intact_ids(output) == all_ids(videos)
    assert verify_dataset(output).damages == ()


def test_memory_of_workers_is_flat_over_two_thousand_clips(tmp_path):
    """At the end within 10 % of that at a tenth of the way: parent and worker."""
    videos = tmp_path / "videos"
    for number in range(8):
        write_video(videos / "seed" / f"{number}.mp4", frames=8, seed=number)
    clips = [
        schema.SourceClip(
            f"Up/{number}", str(videos / "seed" / f"{number % 8}.mp4"), 1, "Up", "train"
        )
        for number in range(2000)
    ]
    config = PrepareConfig(name="toy", short_side=24, pose="none", flow="dis", clips_per_shard=256)
    memory = []
    from perfnet_tf.preparation import staging

    write = staging.Journal.write

    def measured(self, outcome):
        write(self, outcome)
        memory.append((_resident(os.getpid()), sum(map(_resident, _children(os.getpid())))))

    staging.Journal.write = measured
    try:
        build_records(clips, tmp_path / "records", config, CLASSES, workers=1)
    finally:
        staging.Journal.write = write
    assert len(memory) == 2000
    for early, late in zip(memory[200], memory[-1], strict=True):
        print(f"resident at a tenth {early / 2**20:.1f} MiB, at the end {late / 2**20:.1f} MiB")
        assert late < 1.1 * early


def _resident(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf(
        "SC_PAGE_SIZE"
    )


def _children(pid: int) -> list[int]:
    files = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return sorted({int(child) for path in files for child in path.read_text().split()})
