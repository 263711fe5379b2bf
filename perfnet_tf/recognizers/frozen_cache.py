"""Frozen networks in the cache, so that only the first call folds and traces them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.config import ExperimentConfig
from perfnet_tf.downloads.cache import cache_folder, cached, emptied, install
from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest
from perfnet_tf.recognizers.frozen import FrozenNetwork
from perfnet_tf.recognizers.frozen_graph import FrozenGraph
from perfnet_tf.streams import FLOW, POSE, RGB
from perfnet_tf.version import __version__

#: Networks in the cache, each as large as its weights; those unused for longest are removed.
MOST_KEPT = 8
_DAMAGED = (InputError, OSError, ValueError, DecodeError, tf.errors.OpError)


def frozen_network(
    config: ExperimentConfig,
    files: Sequence[Path],
    precision: str,
    make: Callable[[], FrozenGraph],
) -> FrozenNetwork:
    """A `FrozenNetwork`, out of the cache if the same one was made before.

    Networks and streams of plugins are always made: a change of their code would go unnoticed.

    Args:
        config: of the network.
        files: all that decides it: configuration and weights.
        precision: what it computes in.
        make: makes it.
    """
    backbone = BACKBONES[config.model.backbone].network
    if not str(backbone).startswith("perfnet_tf.") or config.stream not in (RGB, FLOW, POSE):
        return FrozenNetwork(make())
    folder = cache_folder("frozen") / _key(files, precision)
    with contextlib.suppress(*_DAMAGED):  # made again
        if cached(folder, remedy="the command again") is not None:
            network = FrozenNetwork(FrozenGraph.load(folder))
            os.utime(folder)
            return network
    frozen = make()
    with contextlib.suppress(
        OSError, tf.errors.OpError
    ):  # such as a full disk, or no right to write: no cache then
        partial = emptied(folder.with_name(f"{folder.name}.{os.getpid()}.partial"))
        frozen.save(partial)
        install(partial, folder)
        _remove_old(folder.parent)
    return FrozenNetwork(frozen)


def _key(files: Sequence[Path], precision: str) -> str:
    """What distinguishes a frozen network: its files, this package's code, and TensorFlow."""
    package = Path(__file__).parents[1]
    code = [*sorted((package / "models").glob("*.py")), *sorted(package.glob("recognizers/f*.py"))]
    digests = [file_digest(file) for file in (*files, *code)]
    words = " ".join([precision, __version__, tf.__version__, *digests])
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _remove_old(cache: Path) -> None:
    folders = [path for path in cache.iterdir() if not path.name.endswith(".partial")]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime)[:-MOST_KEPT]:
        shutil.rmtree(folder, ignore_errors=True)
