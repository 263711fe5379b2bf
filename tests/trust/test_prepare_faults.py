"""What happens to `prepare` when decoders, disks and processes fail under it."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from small_clips import CLASSES, find_clips, write_video

from perfnet_tf.errors import InputError
from perfnet_tf.records import build, reader, schema, shards
from perfnet_tf.records.build import PreparationError, build_records
from perfnet_tf.records.prepare_config import PrepareConfig
from perfnet_tf.records.staging import Staging, clip_key
from perfnet_tf.records.worker_process import WorkerProcess

CONFIG = PrepareConfig(name="toy", short_side=24, pose="none", flow="none", clips_per_shard=3)


def prepare(videos, output, config=CONFIG, **options):
    return build_records(find_clips(videos), output, config, CLASSES, **options)


def intact_ids(folder) -> list[str]:
    """The ids in the records themselves, every frame decoded; shards checked by their digests."""
    info = schema.read_dataset_info(folder)
    ids = []
    for split in info.splits:
        for name, digest in zip(
            info.split(split)["shards"], info.split(split)["sha256"], strict=True
        ):
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        for serialized in reader.read_serialized(folder, split):
            record = reader.decode_record(serialized.numpy(), info)
            assert record.num_frames >= 2
            ids.append(record.clip_id)
    return sorted(ids)


def all_ids(videos):
    return sorted(clip.clip_id for clip in find_clips(videos))


@pytest.fixture
def videos(tmp_path):
    """Two classes of three videos, of 6 frames of 64x48."""
    for name in CLASSES:
        for number in range(3):
            write_video(tmp_path / "videos" / name / f"clip{number}.mp4", frames=6, seed=number)
    return tmp_path / "videos"


@pytest.fixture
def small_disk(tmp_path):
    """A folder that holds 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs rights that this process lacks")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def sabotaged_decoder(tmp_path, monkeypatch):
    """Worker processes whose decoder hangs, crashes or ends over files that are named so."""
    folder = tmp_path / "sabotage"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(
            """
            import os, signal, time
            import cv2
            capture = cv2.VideoCapture
            def sabotaged(path, *rest):
                name = os.path.basename(str(path))
                if name.startswith("hang"):
                    time.sleep(3600)
                if name.startswith("crash"):
                    os.kill(os.getpid(), signal.SIGSEGV)
                if name.startswith("exit"):
                    os._exit(3)
                return capture(path, *rest)
            cv2.VideoCapture = sabotaged
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.slow
def test_decoders_that_hang_or_crash_cost_their_clips_only(videos, tmp_path, sabotaged_decoder):
    good = all_ids(videos)
    for name in ("hang1", "crash1", "exit1"):
        write_video(videos / "Up" / f"{name}.mp4", frames=6)
    output = tmp_path / "records"
    result = prepare(videos, output, workers=1, clip_time_limit=4)
    assert intact_ids(output) == good
    causes = {failure.clip_id: failure.cause for failure in schema.read_failures(output)}
    assert set(causes) == {"Up/hang1", "Up/crash1", "Up/exit1"}
    assert "longer than clip_time_limit=4 s" in causes["Up/hang1"]
    assert "killed by SIGSEGV" in causes["Up/crash1"]
    assert "ended with status 3" in causes["Up/exit1"]
    assert result.info.num_failed == 3
    assert "clip_time_limit" not in result.info.parameters  # another limit goes on with it


def test_worker_that_hangs_is_replaced_and_the_clip_not_tried_twice(videos, tmp_path):
    staging = Staging(tmp_path / "records")
    staging.output.mkdir()
    staging.begin({})
    worker = WorkerProcess(staging, CONFIG, num_threads=1, time_limit=20)
    try:
        clips = find_clips(videos)
        assert worker(clips[0]).ok
        hanging = worker._child
        worker._time_limit = 1
        os.kill(hanging.pid, signal.SIGSTOP)
        started = time.monotonic()
        outcome = worker(clips[1])
        assert not outcome.ok and "longer than clip_time_limit=1 s" in outcome.cause
        assert time.monotonic() - started < 10
        assert hanging.returncode == -signal.SIGKILL and worker._child is None
        worker._time_limit = None
        assert worker(clips[1]).ok
    finally:
        worker.close()


def test_pipes_and_devices_are_no_videos(videos, tmp_path):
    os.mkfifo(videos / "Up" / "pipe1.mp4")
    (videos / "Up" / "device1.mp4").symlink_to("/dev/zero")
    output = tmp_path / "records"
    prepare(videos, output, workers=0)
    causes = {failure.clip_id: failure.cause for failure in schema.read_failures(output)}
    assert set(causes) == {"Up/pipe1", "Up/device1"}
    assert all("folder or device" in cause for cause in causes.values())


def test_source_that_vanishes_is_a_failure_with_its_cause(videos, tmp_path, monkeypatch):
    run = build.pending_clips

    def vanish(clips, staging):
        (videos / "Up" / "clip1.mp4").unlink()
        return run(clips, staging)

    monkeypatch.setattr(build, "pending_clips", vanish)
    output = tmp_path / "records"
    good = [name for name in all_ids(videos) if name != "Up/clip1"]
    build_records(find_clips(videos), output, CONFIG, CLASSES, workers=0)
    assert intact_ids(output) == good
    (failure,) = schema.read_failures(output)
    assert failure.clip_id == "Up/clip1" and "does not exist" in failure.cause


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_full_disk_ends_the_run_and_a_later_one_goes_on(videos, small_disk, workers):
    output = small_disk / "records"
    filler = small_disk / "filler"
    # Room for the journal and a record or two, of some 12 KiB each.
    filler.write_bytes(bytes(24 << 10))
    with pytest.raises(PreparationError, match="no space is left.*run the command again"):
        prepare(videos, output, workers=workers)
    with pytest.raises(InputError, match="not finished"):
        schema.read_dataset_info(output)
    assert not list(output.rglob("*.partial"))
    filler.unlink()
    with contextlib.suppress(PreparationError):
        prepare(videos, output, workers=workers)  # 64 KiB may or may not do
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    prepare(videos, output, workers=workers)
    assert intact_ids(output) == all_ids(videos)
    assert schema.read_failures(output) == []


def test_file_that_cannot_grow_ends_the_run_and_a_later_one_goes_on(videos, tmp_path):
    """As on a full disk, for machines where none can be mounted."""
    output = tmp_path / "records"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PreparationError, match="cannot be written to.*run the command again"):
            prepare(videos, output, workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(videos, output, workers=0)
    assert intact_ids(output) == all_ids(videos)


def test_disk_that_fills_while_shards_are_written_loses_nothing(videos, tmp_path, monkeypatch):
    output = tmp_path / "records"
    written = []
    flush = shards.flush_to_disk

    def full(file):
        written.append(file.name)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        flush(file)

    monkeypatch.setattr(shards, "flush_to_disk", full)
    with pytest.raises(PreparationError, match="no space is left"):
        prepare(videos, output, workers=0)
    assert not list(output.rglob("*.partial"))
    monkeypatch.undo()
    assert prepare(videos, output, workers=0).num_made == 0
    assert intact_ids(output) == all_ids(videos)


def test_read_only_output_is_refused_in_one_line(videos, tmp_path, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for output in (small_disk, small_disk / "records"):
        with pytest.raises(InputError, match="cannot be written to.*Read-only"):
            prepare(videos, output, workers=0)


class TestPartsThatWereFinished:
    @pytest.fixture
    def stopped(self, videos, tmp_path, monkeypatch):
        """A preparation that stopped after its first shard: the output, and who else knows."""
        output = tmp_path / "records"
        write_shard, written = shards._write_shard, []

        def stop(path, *rest):
            if written:
                raise KeyboardInterrupt
            written.append(path)
            return write_shard(path, *rest)

        monkeypatch.setattr(shards, "_write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(videos, output, workers=0)
        monkeypatch.undo()
        left = [
            clip for clip in find_clips(videos) if Staging(output).part(clip_key(clip)).exists()
        ]
        assert 0 < len(left) < 6
        return output, left

    def test_lost_ones_are_made_again(self, videos, stopped):
        output, left = stopped
        Staging(output).part(clip_key(left[0])).unlink()
        assert prepare(videos, output, workers=0).num_made == 1
        assert intact_ids(output) == all_ids(videos)

    def test_damaged_ones_are_found_and_made_again(self, videos, stopped):
        output, left = stopped
        part = Staging(output).part(clip_key(left[-1]))
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 4
        part.write_bytes(content)
        with pytest.raises(PreparationError, match=f"{left[-1].clip_id} was damaged.*made again"):
            prepare(videos, output, workers=0)
        assert prepare(videos, output, workers=0).num_made == 1
        assert intact_ids(output) == all_ids(videos)

    def test_lost_ones_without_their_source_are_a_clear_refusal(self, videos, stopped):
        output, left = stopped
        Staging(output).part(clip_key(left[0])).unlink()
        clips = find_clips(videos)
        pathlib.Path(left[0].path).unlink()
        for _ in range(2):
            with pytest.raises(PreparationError, match=f"{left[0].clip_id} has vanished"):
                build_records(clips, output, CONFIG, CLASSES, workers=0)
        with pytest.raises(InputError, match="not finished"):
            schema.read_dataset_info(output)


@pytest.mark.slow
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
    while kills < 20:
        run = subprocess.Popen(
            [*command, f"--output={output}"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            run.wait(moments.uniform(0.5, 1.2) * duration)
            # It ended before its moment: from here on another output.
            assert run.returncode == 0 and intact_ids(output) == whole
            shutil.rmtree(output)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            kills += 1
            if moments.random() < 0.4 and output.exists():
                shutil.rmtree(output)  # most of a run's stages come before the first clip is made
    subprocess.run([*command, f"--output={output}"], check=True, capture_output=True)
    assert intact_ids(output) == whole
    assert [failure.clip_id for failure in schema.read_failures(output)] == ["Up/text1"]
    assert (output / "dataset.json").read_bytes() == (
        tmp_path / "whole" / "dataset.json"
    ).read_bytes()


@pytest.mark.slow
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
    config = dataclasses.replace(CONFIG, flow="dis", clips_per_shard=256)
    memory = []
    from perfnet_tf.records import staging

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
