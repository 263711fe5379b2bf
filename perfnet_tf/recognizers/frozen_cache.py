"""Frozen networks in the cache, so that only the first call folds and traces them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.config import ExperimentConfig
from perfnet_tf.downloads.cache import cache_folder, cached, emptied, install
from perfnet_tf.errors import InputError
from perfnet_tf.files import file_digest
from perfnet_tf.recognizers.frozen import InferenceModule
from perfnet_tf.streams import FLOW, POSE, RGB
from perfnet_tf.version import __version__

#: Networks in the cache, each as large as its weights; those unused for longest are removed.
MOST_KEPT = 8


def frozen_module(
    config: ExperimentConfig,
    files: Sequence[Path],
    precision: str,
    make: Callable[[], InferenceModule],
) -> Any:
    """An `InferenceModule`, out of the cache if the same one was made before.

    Networks and streams of plugins are always made: a change of their code would go unnoticed.

    Args:
        config: of the network.
        files: all that decides it: configuration and weights.
        precision: what it computes in.
        make: makes it.
    """
    network = BACKBONES[config.model.backbone].network
    if not str(network).startswith("perfnet_tf.") or config.stream not in (RGB, FLOW, POSE):
        return make()
    folder = cache_folder("frozen") / _key(files, precision)
    try:
        if cached(folder, remedy="the command again") is not None:
            module = tf.saved_model.load(str(folder))
            os.utime(folder)
            return module
    except (InputError, OSError, ValueError, RuntimeError, tf.errors.OpError):
        pass  # damaged: made again
    module = make()
    with contextlib.suppress(OSError):  # such as a full disk, or no right to write: no cache then
        partial = emptied(folder.with_name(f"{folder.name}.{os.getpid()}.partial"))
        tf.saved_model.save(module, str(partial))
        install(partial, folder)
        _remove_old(folder.parent)
    return module


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
