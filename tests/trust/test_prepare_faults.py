"""What happens to `prepare` when decoders and disks fail under it, and parts are damaged."""

import builtins
import contextlib
import errno
import itertools
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import textwrap
import time

import pytest
from mutations import generator, mutate_bytes, mutate_json_file
from prepared_records import all_ids, intact_ids
from small_clips import CLASSES, find_clips, write_video

from perfnet_tf import files
from perfnet_tf.errors import InputError
from perfnet_tf.preparation import build, shards
from perfnet_tf.preparation.build import PreparationError, build_records
from perfnet_tf.preparation.config import PrepareConfig
from perfnet_tf.preparation.staging import Staging
from perfnet_tf.preparation.worker_process import WorkerProcess
from perfnet_tf.records.folder import read_dataset_info, read_failures
from perfnet_tf.records.verification import verify_dataset

CONFIG = PrepareConfig(name="toy", short_side=24, pose="none", flow="none", clips_per_shard=3)


def prepare(videos, output, config=CONFIG, **options):
    return build_records(find_clips(videos), output, config, CLASSES, **options)


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
            import av
            open_container = av.open
            def sabotaged(path, **rest):
                name = os.path.basename(str(path))
                if name.startswith("hang"):
                    time.sleep(3600)
                if name.startswith("crash"):
                    os.kill(os.getpid(), signal.SIGSEGV)
                if name.startswith("exit"):
                    os._exit(3)
                return open_container(path, **rest)
            av.open = sabotaged
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
    causes = {failure.clip_id: failure.cause for failure in read_failures(output)}
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
    causes = {failure.clip_id: failure.cause for failure in read_failures(output)}
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
    (failure,) = read_failures(output)
    assert failure.clip_id == "Up/clip1" and "does not exist" in failure.cause


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_full_disk_ends_the_run_and_a_later_one_resumes(videos, small_disk, workers):
    output = small_disk / "records"
    filler = small_disk / "filler"
    # Room for the journal and a record or two, of some 12 KiB each.
    filler.write_bytes(bytes(24 << 10))
    with pytest.raises(PreparationError, match="no space is left.*rerun the command"):
        prepare(videos, output, workers=workers)
    with pytest.raises(InputError, match="not finished"):
        read_dataset_info(output)
    assert not list(output.rglob("*.partial"))
    filler.unlink()
    with contextlib.suppress(PreparationError):
        prepare(videos, output, workers=workers)  # 64 KiB may or may not do
    subprocess.run(["mount", "-o", "remount,size=1m", str(small_disk)], check=True)
    prepare(videos, output, workers=workers)
    assert intact_ids(output) == all_ids(videos)
    assert read_failures(output) == []


def test_file_that_cannot_grow_ends_the_run_and_a_later_one_resumes(videos, tmp_path):
    """As on a full disk, for machines where none can be mounted."""
    output = tmp_path / "records"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PreparationError, match="cannot be written to.*rerun the command"):
            prepare(videos, output, workers=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    prepare(videos, output, workers=0)
    assert intact_ids(output) == all_ids(videos)


def test_disk_that_fills_while_shards_are_written_loses_nothing(videos, tmp_path, monkeypatch):
    output = tmp_path / "records"
    written = []
    flush = files.flush_to_disk

    def full(file):
        if "-of-" in os.path.basename(file.name):
            written.append(file.name)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        flush(file)

    monkeypatch.setattr(files, "flush_to_disk", full)
    with pytest.raises(PreparationError, match="no space is left"):
        prepare(videos, output, workers=0)
    assert not list(output.rglob("*.partial"))
    monkeypatch.undo()
    assert prepare(videos, output, workers=0).num_made == 0
    assert intact_ids(output) == all_ids(videos)


class Killed(BaseException):
    """In place of a SIGKILL: nothing catches it."""


class Faults:
    """Counts what is written, and fails from the `first`-th time on, or ends the run there."""

    def __init__(self, monkeypatch, kind, first):
        self.count = 0
        self._kind = kind
        self._first = first
        for module, name in (
            (builtins, "open"),
            (os, "mkdir"),
            (os, "fsync"),
            (os, "replace"),
            (os, "unlink"),
        ):
            monkeypatch.setattr(module, name, self._failing(name, getattr(module, name)))

    def _failing(self, name, function):
        def call(*arguments, **options):
            reads = name == "open" and not set("wa+") & set("".join(map(str, arguments[1:2])))
            # A full disk still renames and removes.
            if not reads and (self._kind == "kill" or name not in ("replace", "unlink")):
                self.count += 1
                if self._kind == "kill" and self.count == self._first:
                    raise Killed
                if self._kind == "full" and self.count >= self._first:
                    raise OSError(errno.ENOSPC, "No space left on device")
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("kind", ["full", "kill"])
def test_fault_at_any_write_loses_and_leaves_nothing(videos, tmp_path, monkeypatch, kind):
    """Each time another one fails, from the first to the last of a whole preparation."""
    prepare(videos, tmp_path / "whole", workers=0)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    faults = 0
    for first in itertools.count(1):
        output = tmp_path / f"records{first}"
        with monkeypatch.context() as patch:
            writes = Faults(patch, kind, first)
            try:
                prepare(videos, output, workers=0)
            except (PreparationError, InputError, Killed) as error:
                assert isinstance(error, Killed) == (kind == "kill")
        if writes.count < first:
            break
        faults += 1
        prepare(videos, output, workers=0)
        assert {path.name: path.read_bytes() for path in output.iterdir()} == whole
    assert intact_ids(tmp_path / "whole") == all_ids(videos)
    print(f"\n{faults} faults of the kind {kind}")
    assert faults > 30


def test_what_a_user_may_not_read_or_write_is_reported(videos):
    with tempfile.TemporaryDirectory() as name:  # pytest's folders are the user's own
        folder = pathlib.Path(name)
        videos = shutil.copytree(videos, folder / "videos")
        secret = videos / "Up" / "clip1.mp4"
        prepare(videos, folder / "imported", workers=0)
        for path, mode in (("", 0o755), ("locked", 0o555), ("free", 0o777)):
            (folder / path).mkdir(exist_ok=True)
            (folder / path).chmod(mode)
        secret.chmod(0)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may all
        try:
            for output in (folder / "locked", folder / "locked" / "records"):
                with pytest.raises(InputError, match="cannot be written to.*Permission denied"):
                    prepare(videos, output, workers=0)
            prepare(videos, folder / "free", workers=0)
        finally:
            os.seteuid(user)
        (failure,) = read_failures(folder / "free")
        assert failure.clip_id == "Up/clip1" and "Permission denied" in failure.cause
        assert intact_ids(folder / "free") == [n for n in all_ids(videos) if n != "Up/clip1"]
        (folder / "locked").chmod(0o755)


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
        write_shard, written = shards.write_shard, []

        def stop(path, *rest):
            if written:
                raise KeyboardInterrupt
            written.append(path)
            return write_shard(path, *rest)

        monkeypatch.setattr(shards, "write_shard", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(videos, output, workers=0)
        monkeypatch.undo()
        left = [clip for clip in find_clips(videos) if Staging(output).part(clip.key).exists()]
        assert 0 < len(left) < 6
        return output, left

    def test_lost_ones_are_made_again(self, videos, stopped):
        output, left = stopped
        Staging(output).part(left[0].key).unlink()
        assert prepare(videos, output, workers=0).num_made == 1
        assert intact_ids(output) == all_ids(videos)

    def test_damaged_ones_are_found_and_made_again(self, videos, stopped):
        output, left = stopped
        part = Staging(output).part(left[-1].key)
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 4
        part.write_bytes(content)
        with pytest.raises(PreparationError, match=f"{left[-1].clip_id} was damaged.*made again"):
            prepare(videos, output, workers=0)
        assert prepare(videos, output, workers=0).num_made == 1
        assert intact_ids(output) == all_ids(videos)

    @pytest.mark.parametrize("damage", ["flipped", "cut", "longer"])
    def test_shard_that_was_damaged_since_is_found_and_made_again(self, videos, stopped, damage):
        """Its digest would otherwise be taken of what is there."""
        output, left = stopped
        (path,) = output.glob("*.tfrecord")
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 4
        path.write_bytes({"cut": content[:-9], "longer": content + b"x"}.get(damage, content))
        with pytest.raises(PreparationError, match=f"{path.name} was damaged.*made again"):
            prepare(videos, output, workers=0)
        assert prepare(videos, output, workers=0).num_made == 6 - len(left)
        assert intact_ids(output) == all_ids(videos)

    @pytest.mark.parametrize("count", [40, pytest.param(300, marks=pytest.mark.slow)])
    def test_mutated_files_of_a_preparation(self, videos, stopped, tmp_path, count):
        """A refusal, or a run that ends with every clip; at most after another one or two."""
        output, _ = stopped
        draw = generator(count)
        files = sorted(path.relative_to(output) for path in output.rglob("*") if path.is_file())
        refused = again = 0
        for number in range(count):
            copy = shutil.copytree(output, tmp_path / "copy")
            path = copy / files[number % len(files)]
            if path.suffix in (".json", ".jsonl"):
                first, rest = re.fullmatch(r"(\{.*?\n?\})\n(.*)", path.read_text(), re.S).groups()
                path.write_bytes(mutate_json_file(first, draw) + b"\n" + rest.encode())
            else:
                path.write_bytes(mutate_bytes(path.read_bytes(), draw))
            for _ in range(3):
                try:
                    prepare(videos, copy, workers=0)
                except PreparationError as error:
                    assert re.search("made again|vanished", str(error))
                    again += 1
                    continue
                except InputError as error:
                    assert re.search("is damaged|other settings", str(error))
                    refused += 1
                else:
                    verified = verify_dataset(copy)
                    assert verified.num_clips == 6 or verified.damages
                break
            else:
                pytest.fail(f"{path} is never mended")
            shutil.rmtree(copy)
        print(f"\n{count} mutated: {refused} refused, {again} needed another run")

    def test_lost_ones_without_their_source_are_a_clear_refusal(self, videos, stopped):
        output, left = stopped
        Staging(output).part(left[0].key).unlink()
        clips = find_clips(videos)
        pathlib.Path(left[0].path).unlink()
        for _ in range(2):
            with pytest.raises(PreparationError, match=f"{left[0].clip_id} has vanished"):
                build_records(clips, output, CONFIG, CLASSES, workers=0)
        with pytest.raises(InputError, match="not finished"):
            read_dataset_info(output)
