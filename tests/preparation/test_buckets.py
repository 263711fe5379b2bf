"""Preparations from and into buckets: an S3 server on loopback, reached through Apache Beam."""

import dataclasses
import json
import pathlib

import pytest
from bucket_server import BUCKET, free_port, require_s3, s3_server, upload_folder
from small_clips import CLASSES, find_clips
from small_preparation import CONFIG, contents, prepare

from perfnet_tf import storage
from perfnet_tf.errors import InputError
from perfnet_tf.preparation import bucket_staging, build
from perfnet_tf.preparation.bucket_staging import BucketStaging
from perfnet_tf.preparation.outcomes import ClipOutcome, PreparationError
from perfnet_tf.preparation.prepare import prepare as prepare_dataset
from perfnet_tf.preparation.progress import read_progress
from perfnet_tf.preparation.shards import write_dataset

TOP = f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    require_s3()
    with (
        s3_server(tmp_path_factory.mktemp("server") / "log.txt") as variables,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in variables.items():
            patch.setenv(name, value)
        storage.set_options([])
        yield TOP


@pytest.fixture(scope="module")
def remote_videos(bucket, videos):
    upload_folder(videos, f"{bucket}/videos")
    return f"{bucket}/videos"


@pytest.fixture
def remote_clips(remote_videos, videos):
    return [
        dataclasses.replace(
            clip, path=storage.join(remote_videos, storage.relative(clip.path, videos))
        )
        for clip in find_clips(videos)
    ]


@pytest.fixture
def output(bucket, request):
    return f"{bucket}/{request.node.name}"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(bucket_staging, "SIGN_SECONDS", 0.2)


def remote_contents(address):
    return {
        storage.relative(file.path, address): storage.read_bytes(file.path)
        for file in storage.list_files(address)
    }


def expected(prepared):
    """What a local run wrote; a bucket has no empty files."""
    return {name: content for name, content in contents(prepared).items() if content}


def test_files_of_a_bucket_are_written_read_listed_and_removed(bucket, tmp_path):
    top = f"{bucket}/files"
    odd = f"{top}/a/[b] *?.txt"
    storage.write_atomically(odd, "first")
    storage.write_atomically(odd, "second")
    with storage.writing(f"{top}/large") as file:
        file.write(bytes(6_000_000))  # S3 takes it in parts
        file.write(b"end")
    assert storage.read_bytes(odd) == b"second"
    assert storage.list_files(top) == [(odd, 6), (f"{top}/large", 6_000_003)]
    assert storage.list_files(top, "a/[b]") == [(odd, 6)]
    assert storage.total_size([f"{top}/large"]) == 6_000_003
    storage.download(odd, tmp_path / "folder" / "copy")
    assert (tmp_path / "folder" / "copy").read_text() == "second"
    assert storage.exists(odd) and not storage.exists(f"{top}/a")
    storage.remove([odd, f"{top}/none"])
    assert not storage.exists(odd)
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(odd)
    with pytest.raises(OSError, match="nowhere"):
        storage.write_atomically("s3://nowhere/file", "text")


def test_what_is_written_to_a_bucket_appears_whole_or_not_at_all(bucket):
    path = f"{bucket}/files/broken"
    with pytest.raises(ZeroDivisionError), storage.writing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert not storage.exists(path)


@pytest.mark.parametrize("folder", ["gs5://bucket/data", "memory://bucket"])
def test_a_scheme_that_beam_has_not_is_named(folder):
    pytest.importorskip("apache_beam")
    with pytest.raises(InputError, match=f"such as gs:// or s3://. Received: {folder}"):
        storage.list_files(folder)


def test_a_bucket_whose_packages_are_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "perfnet-tf\[gcp\]"'):
        storage.exists("gs://bucket/file")
    with pytest.raises(InputError, match=r'Buckets need Apache Beam.*"perfnet-tf\[cluster\]"'):
        prepare_dataset("gs://bucket/videos", "gs://bucket/data")


@pytest.mark.slow
def test_a_preparation_in_a_bucket_is_that_in_a_folder(prepared, remote_clips, output):
    result = prepare(None, output, clips=remote_clips)
    assert remote_contents(output) == expected(prepared)
    assert result.num_bytes == sum(p.stat().st_size for p in prepared.glob("*.tfrecord"))
    again = prepare(None, output, clips=remote_clips)
    assert again.already_complete and again.info == result.info
    with pytest.raises(InputError, match="short_side=24 there, 32 now"):
        prepare(None, output, dataclasses.replace(CONFIG, short_side=32), clips=remote_clips)


def test_an_output_that_holds_something_else_is_refused(bucket, remote_clips, output):
    storage.write_atomically(f"{output}/thesis.tex", "text")
    with pytest.raises(InputError, match="which holds thesis.tex"):
        prepare(None, output, clips=remote_clips)


@pytest.mark.slow
def test_a_dataset_in_a_bucket_is_read_by_its_names(remote_videos, videos, output, tmp_path):
    settings = dict(pose="none", flow="none", short_side=24, workers=0)
    prepare_dataset(videos, tmp_path / "records", **settings)
    result = prepare_dataset(remote_videos, output, **settings)
    assert remote_contents(output) == expected(tmp_path / "records")
    assert result.info.classes == CLASSES
    with pytest.raises(InputError, match=f"CLASS/FILE. Received: {remote_videos}/Up, where 4 do"):
        prepare_dataset(f"{remote_videos}/Up", f"{output}2", **settings)


def test_clips_that_fail_name_the_bucket(bucket, remote_clips, output):
    storage.write_atomically(f"{bucket}/bad.mp4", "no video\n" * 50)
    bad, gone, *rest = remote_clips
    bad = dataclasses.replace(bad, path=f"{bucket}/bad.mp4")
    gone = dataclasses.replace(gone, path=f"{bucket}/gone.mp4")
    result = prepare(None, output, clips=[bad, gone, *rest])
    causes = {failure.path: failure.cause for failure in result.failures}
    assert set(causes) == {bad.path, gone.path} and result.info.num_failed == 2
    assert bad.path in causes[bad.path] and "cannot be read" in causes[gone.path]
    lines = storage.read_bytes(f"{output}/failures.jsonl").decode().splitlines()
    assert {json.loads(line)["path"] for line in lines} == set(causes)


@pytest.mark.slow
def test_a_killed_preparation_resumes_and_damaged_parts_are_made_again(
    prepared, remote_clips, output, monkeypatch
):
    monkeypatch.setattr(build, "write_dataset", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(None, output, clips=remote_clips[:5] + remote_clips[5:])
    monkeypatch.undo()
    staging = BucketStaging(output)
    outcomes = staging.outcomes()
    cut, lost = remote_clips[1], remote_clips[4]
    first = outcomes[cut.key]
    storage.write_atomically(staging._part_path(cut.key, first.sha256), "cut off")
    storage.remove([staging._part_path(lost.key, outcomes[lost.key].sha256)])
    assert staging.find_done(cut) is None and staging.find_done(lost) is None
    assert staging.find_done(remote_clips[0]) == outcomes[remote_clips[0].key]
    assert staging.count_outcomes() == 8
    result = prepare(None, output, clips=remote_clips)
    assert result.num_made == 2
    assert remote_contents(output) == expected(prepared)


def test_two_workers_with_one_clip_leave_one_record(bucket, remote_clips, output):
    """Whatever the order of their parts and journals, the one that counts is there."""
    staging = BucketStaging(output)
    size, digest = staging.write_part("3f", b"of one")
    other_size, other = staging.write_part("3f", b"of another one")
    journals = staging.journal(), staging.journal()
    journals[1].write(ClipOutcome("3f", other_size, other, num_frames=1, time=2.0))
    journals[0].write(ClipOutcome("3f", size, digest, num_frames=1, time=1.0))
    outcomes = staging.outcomes()
    assert outcomes["3f"].sha256 == other and staging.done(outcomes) == {"3f"}
    assert b"of another one" in staging.read_part(outcomes["3f"])
    staging.finish(outcomes)
    journals[0].write(ClipOutcome("3f", size, digest, num_frames=1, time=3.0))
    assert staging.outcomes() == outcomes  # what comes later changes no shard


def test_journals_are_short(bucket, output, monkeypatch):
    monkeypatch.setattr(bucket_staging, "_LINES_PER_JOURNAL", 3)
    staging = BucketStaging(output)
    journal = staging.journal()
    for number in range(7):
        journal.write(ClipOutcome(str(number), cause="none"))
        assert staging.count_outcomes() == number + 1
    files = storage.list_files(f"{output}/parts", "journal-")
    assert len(files) == 3 and len(staging.outcomes()) == 7


def test_a_command_at_work_is_respected_and_a_killed_one_is_not(bucket, output, monkeypatch):
    monkeypatch.setattr(bucket_staging, "SIGN_SECONDS", 1.5)
    first, second = BucketStaging(output), BucketStaging(output)
    with (
        first.exclusive(),
        pytest.raises(InputError, match=f"Another perfnet prepare is writing to {output}, on"),
        second.exclusive(),
    ):
        pass
    storage.write_atomically(first.staged_path("drivers/killed.json"), '{"host": "gone"}')
    with second.exclusive():
        (sign,) = storage.list_files(f"{output}/parts/drivers")
        assert json.loads(storage.read_bytes(sign.path))["host"] != "gone"
    assert storage.list_files(output) == []


@pytest.mark.slow
def test_a_shard_that_was_damaged_is_written_again(prepared, remote_clips, output, monkeypatch):
    monkeypatch.setattr(build, "write_dataset", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(None, output, clips=remote_clips)
    monkeypatch.undo()
    storage.write_atomically(f"{output}/train-00000-of-00003.tfrecord", "half")
    with pytest.raises(PreparationError, match="was damaged after it was written"):
        prepare(None, output, clips=remote_clips)
    prepare(None, output, clips=remote_clips)
    assert remote_contents(output) == expected(prepared)


def test_weights_count_by_content_in_buckets_as_well(bucket, tmp_path):
    from perfnet_tf.preparation.config import PrepareConfig
    from perfnet_tf.preparation.fetching import fetch_settings

    weights = tmp_path / "weights"
    for name in ("b/model.bin", "a.json"):
        (weights / name).parent.mkdir(parents=True, exist_ok=True)
        (weights / name).write_text(name)
    upload_folder(weights, f"{bucket}/weights")
    local = PrepareConfig("toy", pose_weights=str(weights))
    remote = PrepareConfig("toy", pose_weights=f"{bucket}/weights")
    assert remote.identity() == local.identity()
    fetched = pathlib.Path(fetch_settings(remote).pose_weights)
    assert (fetched / "b" / "model.bin").read_text() == "b/model.bin"
    absent = dataclasses.replace(remote, pose_weights=f"{bucket}/absent")
    with pytest.raises(InputError, match=f"{bucket}/absent"):
        absent.identity()
    with pytest.raises(InputError, match=f"{bucket}/absent"):
        fetch_settings(absent)


def test_progress_is_read_from_any_machine(bucket, remote_clips, output, capsys):
    from perfnet_tf.cli.main import main

    with pytest.raises(InputError, match=f"Received: {output}, where none has begun"):
        read_progress(output)
    staging = BucketStaging(output)
    staging.begin({"num_source_clips": 4})
    size, digest = staging.write_part("3f", b"record")
    staging.journal().write(ClipOutcome("3f", size, digest))
    staging.journal().write(ClipOutcome("4a", cause="no video"))
    assert main(["inspect", "--progress", f"--data={output}"]) == 0
    assert capsys.readouterr().out == f"{output}: 1 of 4 clips made, 1 failed (50.0%).\n"
    staging.finish(staging.outcomes())
    assert read_progress(output).stage == "shards"


def test_progress_of_a_folder(prepared, tmp_path):
    assert str(read_progress(prepared)) == "complete: 8 clips, 0 failed"
    with pytest.raises(InputError, match="none has begun"):
        read_progress(tmp_path)


@pytest.mark.slow
def test_google_storage_gives_the_same(videos, prepared, monkeypatch):
    """By an emulator in this process; no part of Google's service was reached."""
    pytest.importorskip("google.cloud.storage", reason='needs pip install "perfnet-tf[gcp]"')
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage as google_storage

    port = free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    # Beam otherwise looks for credentials for 20 s.
    monkeypatch.setattr(google.auth, "default", lambda **_: (AnonymousCredentials(), "project"))
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        client = google_storage.Client(project="project", credentials=AnonymousCredentials())
        client.create_bucket(BUCKET)
        upload_folder(videos, f"gs://{BUCKET}/videos")
        clips = [
            dataclasses.replace(
                clip, path=f"gs://{BUCKET}/videos/{storage.relative(clip.path, videos)}"
            )
            for clip in find_clips(videos)
        ]
        output = f"gs://{BUCKET}/records"
        monkeypatch.setattr(build, "write_dataset", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepare(None, output, clips=clips)
        monkeypatch.setattr(build, "write_dataset", write_dataset)
        staging = BucketStaging(output)
        outcomes = staging.outcomes()
        lost = outcomes[clips[3].key]
        storage.remove([staging._part_path(lost.key, lost.sha256)])
        assert prepare(None, output, clips=clips).num_made == 1
        assert remote_contents(output) == expected(prepared)
    finally:
        server.stop()
