"""Downloads over HTTP that resume where they broke off, also after a kill."""

from __future__ import annotations

import base64
import hashlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path

from perfnet_tf.downloads.cache import MAX_BYTES
from perfnet_tf.errors import FailureError, InputError

_TIMEOUT = 30.0  # seconds without a byte
_TRIES = 4
_PAUSE = 1.0  # seconds before the second try; doubles
_BLOCK = 1 << 16


class DownloadError(FailureError):
    """No source could be reached; the message says what was tried and what to do instead."""


def download(url: str, path: Path, show_progress: bool) -> None:
    """Fetches one file, unless it exists; resumes what an earlier call or process left.

    It is checked against the length that the server states, and against the MD5 if there is one.

    Raises:
        OSError, HTTPException: after several tries; `reason` says what went wrong.
        InputError: it is too large.
    """
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
        if total is not None and total > MAX_BYTES:
            raise InputError(f"{url} has {total} bytes: no model is that large.")
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
                if size > MAX_BYTES:
                    raise InputError(f"{url} does not end: no model is that large.")
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


def _may_pass(error: BaseException) -> bool:
    """Whether another try may go better: a broken connection or a busy server, but no refusal."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500
    cause = getattr(error, "reason", error)
    return not isinstance(cause, (ConnectionRefusedError, socket.gaierror))


def reason(error: BaseException) -> str:
    """What went wrong, without Python's wrapping."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return f"no connection ({error.reason})"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"{Path(error.cmd[0]).name} took longer than {error.timeout / 60:.0f} minutes"
    return str(error).rstrip(".") or type(error).__name__
