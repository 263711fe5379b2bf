"""`prepare` on a Dask cluster with videos and records in a bucket, whose workers are killed."""

import hashlib
import os
import pathlib
import random
import subprocess
import sys
import time

import pytest
from bucket_server import BUCKET, free_port, require_s3, s3_server, upload_folder
from prepared_records import intact_ids, read_serialized
from small_clips import CLASSES, write_video

from perfnet_tf import storage
from perfnet_tf.records.folder import read_dataset_info

pytestmark = pytest.mark.slow

NUM_WORKERS = 3
SETTINGS = ["--pose=none", "--flow=dis", "--short_side=24", "--clips_per_shard=8"]
PREPARE = [sys.executable, "-m", "perfnet_tf", "prepare", "--dataset=folder", *SETTINGS]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    require_s3()
    pytest.importorskip("distributed", reason='needs pip install "perfnet-tf[dask]"')
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with s3_server(log) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        storage.set_options([])
        yield f"s3://{BUCKET}"


class Cluster:
    """A Dask scheduler and workers, each a process of its own that nothing starts again."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._folder = folder
        self._scheduler = self._start("scheduler", "--port", self.address.rpartition(":")[2])
        self.workers = [self._start_worker() for _ in range(NUM_WORKERS)]

    def _start(self, *words: str) -> subprocess.Popen:
        # Not in the folder of the tests: workers share nothing but the bucket.
        with open(self._folder / "log.txt", "a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *words, "--dashboard-address", ":0"],
                cwd=self._folder, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _start_worker(self) -> subprocess.Popen:
        return self._start("worker", self.address, "--nthreads", "1", "--no-nanny")

    def kill(self, number: int) -> None:
        """Kills a worker as the kernel would, and starts another."""
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._start_worker()

    def close(self) -> None:
        for process in (*self.workers, self._scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(bucket, tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Cluster(folder)
    yield started
    started.close()


def digests(folder: pathlib.Path) -> dict[str, int]:
    """SHA-256 of each serialized example -> how often it is there."""
    found: dict[str, int] = {}
    for split in read_dataset_info(folder).splits:
        for record in read_serialized(folder, split):
            digest = hashlib.sha256(record.numpy()).hexdigest()
            found[digest] = found.get(digest, 0) + 1
    return found


def run(log: pathlib.Path, *words: str) -> subprocess.Popen:
    with open(log, "a") as file:
        return subprocess.Popen([*PREPARE, *words], stdout=file, stderr=file)


def num_done(output: str) -> int:
    files = storage.list_files(f"{output}/parts", "clips/")
    return len(files)


def test_killed_workers_and_a_killed_driver_lose_and_double_nothing(bucket, cluster, tmp_path):
    """60 clips; workers are killed at 5 random moments, the driver once."""
    videos = tmp_path / "videos"
    for number in range(60):
        path = videos / CLASSES[number % 2] / f"clip{number:02}.mp4"
        write_video(path, frames=100 + number, seed=number)
    local = tmp_path / "local"
    subprocess.run(
        [*PREPARE, f"--videos={videos}", f"--output={local}", "--workers=2"],
        check=True, capture_output=True,
    )  # fmt: skip
    upload_folder(videos, f"{bucket}/killed/videos")
    output = f"{bucket}/killed/records"
    words = [f"--videos={bucket}/killed/videos", f"--output={output}", "--runner=dask"]
    words += [f"--dask_address={cluster.address}", "--workers=2"]
    log = tmp_path / "driver.txt"
    moments = random.Random(3)
    # After so many clips: the first workers are killed while they start.
    kills = sorted(moments.sample(range(2, 55), 5))
    killed_driver = moments.randrange(15, 40)
    driver = run(log, *words)
    drivers, count, seen = 1, 0, []
    deadline = time.monotonic() + 1500
    try:
        while driver.poll() is None:
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(moments.uniform(0.1, 0.4))
            count = num_done(output)
            if drivers == 1 and count >= killed_driver:
                driver.kill()
                driver.wait()
                seen.append(f"driver at {count}")
                driver, drivers = run(log, *words), 2
            elif kills and count >= kills[0]:
                kills.pop(0)
                cluster.kill(moments.randrange(NUM_WORKERS))
                seen.append(f"worker at {count}")
    finally:
        driver.kill()
        driver.wait()
    print(seen)
    assert driver.returncode == 0, log.read_text()[-3000:]
    assert not kills and drivers == 2, seen
    copy = tmp_path / "copy"
    assert storage.download_folder(output, copy)
    assert intact_ids(copy) == intact_ids(local)
    found = digests(copy)
    assert len(found) == 60 and set(found.values()) == {1}
    assert found == digests(local)
    assert not storage.list_files(f"{output}/parts")
    ours, theirs = ({p.name: p.read_bytes() for p in f.iterdir()} for f in (copy, local))
    assert ours == {name: content for name, content in theirs.items() if content}


def test_memory_of_a_worker_is_flat_over_two_hundred_clips(bucket, cluster, tmp_path):
    """Of Dask's processes and of those that decode, at the end and at a quarter of the way."""
    videos = tmp_path / "videos"
    for number in range(200):
        path = videos / CLASSES[number % 2] / f"clip{number:03}.mp4"
        write_video(path, frames=25, seed=number % 8)
    upload_folder(videos, f"{bucket}/memory/videos")
    output = f"{bucket}/memory/records"
    driver = run(
        tmp_path / "driver.txt", f"--videos={bucket}/memory/videos", f"--output={output}",
        "--runner=dask", f"--dask_address={cluster.address}", "--workers=2",
    )  # fmt: skip
    memory: list[tuple[int, float]] = []
    while driver.poll() is None:
        done = num_done(output)
        family = [resident(pid) for worker in cluster.workers for pid in descendants(worker.pid)]
        memory.append((done, sum(family) / NUM_WORKERS))
        time.sleep(0.5)
    assert driver.returncode == 0, (tmp_path / "driver.txt").read_text()[-3000:]
    early = max(value for done, value in memory if 40 <= done <= 60)
    late = max(value for done, value in memory if done >= 150)
    print(f"per worker at 40 to 60 clips {early:.0f} MiB, at 150 to 200 clips {late:.0f} MiB")
    assert late < 1.1 * early


def descendants(pid: int) -> list[int]:
    try:
        files = list(pathlib.Path(f"/proc/{pid}/task").glob("*/children"))
        children = {int(child) for path in files for child in path.read_text().split()}
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in descendants(child))]


def resident(pid: int) -> float:
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
