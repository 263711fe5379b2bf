#!/usr/bin/env bash
# apache-beam 2.77.0 with boto3 1.44.8, on the S3 server of moto 5.2.5.
#
# One would expect: a shard of records that a worker was writing to a bucket when an error came does
# not appear there, because S3 shows an object only once its upload is completed, and an upload that
# fails can be aborted. Seen: leaving `with FileSystems.create("s3://...")` by an error completes the
# upload. What was written so far appears under the final name and replaces the whole shard that was
# there. So does a writer that is merely forgotten, once Python collects it. TFRecord files have no
# end mark: a reader takes the half for all of it. A file without any bytes, such as an empty list of
# failures, is the one that cannot be written: MalformedXML.
#
# Seen:
#   apache-beam 2.77.0, boto3 1.44.8, moto 5.2.5
#   the shard, written in full: 1000 bytes
#   after a rewrite that failed: 300 bytes
#   a writer that was forgotten: 300 bytes
#   a file without bytes: S3ClientError (MalformedXML)
#
# Prints what it saw, and exits with 1 if the behaviour is another one.
set -euo pipefail
workspace="$(mktemp -d)"
trap 'rm -rf "$workspace"' EXIT
python3 -m venv "$workspace/venv"
"$workspace/venv/bin/pip" install --quiet --disable-pip-version-check --no-compile \
  "apache-beam[aws]==2.77.0" boto3==1.44.8 "moto[server]==5.2.5"
cd "$workspace"
venv/bin/python - <<'PYTHON'
import gc
import logging
import os
import sys

import apache_beam
import boto3
import moto
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from moto.server import ThreadedMotoServer

os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
logging.getLogger("werkzeug").setLevel(logging.ERROR)
print(f"apache-beam {apache_beam.__version__}, boto3 {boto3.__version__}, moto {moto.__version__}")
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
address, port = server.get_host_and_port()
endpoint = f"http://{address}:{port}"
client = boto3.client("s3", endpoint_url=endpoint)
client.create_bucket(Bucket="clips")
FileSystems.set_options(PipelineOptions([f"--s3_endpoint_url={endpoint}"]))


def size(name):
    found = client.list_objects_v2(Bucket="clips").get("Contents", [])
    return next((entry["Size"] for entry in found if entry["Key"] == name), None)


with FileSystems.create("s3://clips/shard") as shard:
    shard.write(b"r" * 1000)
whole = size("shard")
try:
    with FileSystems.create("s3://clips/shard") as shard:
        shard.write(b"r" * 300)
        raise RuntimeError("a video does not decode")
except RuntimeError:
    pass


def forget():
    FileSystems.create("s3://clips/forgotten").write(b"r" * 300)


forget()
gc.collect()
try:
    FileSystems.create("s3://clips/empty").close()
    empty = "written"
except Exception as error:
    empty = f"{type(error).__name__} ({'MalformedXML' if 'MalformedXML' in str(error) else error})"
seen = whole, size("shard"), size("forgotten"), empty
server.stop()
print(f"the shard, written in full: {seen[0]} bytes")
print(f"after a rewrite that failed: {seen[1]} bytes")
print(f"a writer that was forgotten: {seen[2]} bytes")
print(f"a file without bytes: {seen[3]}")
sys.exit(seen != (1000, 300, 300, "S3ClientError (MalformedXML)"))
PYTHON
