"""Buckets on loopback for tests: moto's S3 server, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "clips"


def require_s3() -> None:
    """Skips the test where packages are missing."""
    for module in ("apache_beam", "boto3", "flask", "moto"):
        pytest.importorskip(module, reason='needs pip install "perfnet-tf[aws]" "moto[server]"')


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@contextlib.contextmanager
def s3_server(log: pathlib.Path) -> Iterator[dict[str, str]]:
    """A server with the bucket `clips`; yields the variables by which boto3 finds it."""
    import boto3

    port = free_port()
    variables = {**VARIABLES, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log, "w") as file:
        server = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, **VARIABLES}
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        client = boto3.client(
            "s3",
            endpoint_url=variables["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        client.create_bucket(Bucket=BUCKET)
        yield variables
    finally:
        server.kill()
        server.wait()


def upload_folder(folder: pathlib.Path, address: str) -> None:
    from perfnet_tf import storage

    for file in storage.list_files(folder):
        target = storage.join(address, storage.relative(file.path, folder))
        storage.upload(pathlib.Path(file.path), target)
