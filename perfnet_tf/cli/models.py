"""`perfnet models`: what the architectures cost."""

from __future__ import annotations

import json
from typing import Any

from absl import flags

from perfnet_tf.cli.command import Command

#: The paper's training crop and its inference sizes for Kinetics, UCF-101 and HMDB-51.
CLIPS = ("64x224x224", "250x256x256", "128x224x298", "64x224x298")

#: Backbone -> figures that others published, and where. Not measured here.
PUBLISHED = {
    "r3d50_g": "3666 GFLOPs at 250x256x256 (PERF-Net, Table 5)",
    "s3d_g": "11.56 M parameters with 400 classes, 71.38 GMACs at 64x224x224 "
    "(Xie et al. 2018; its first kernel is 7 frames long)",
    "s3d": "8.32 M parameters with 400 classes (torchvision's variant: see `S3D`'s options)",
}


def _run(arguments: flags.FlagValues, positional: list[str]) -> None:
    """Lists the architectures with their options, parameters and arithmetic.

    Counted from the graph that runs: convolutions and matrix products, a multiply-add (MAC) being
    two floating-point operations, of one RGB clip. What others published stands beside, marked.
    """
    from tqdm import tqdm

    from perfnet_tf.config import BACKBONES, ClipConfig

    clips = [ClipConfig.parse(text) for text in arguments.clips]
    progress = tqdm(BACKBONES, desc="counting", unit="network", leave=False)
    networks = [_measure(name, arguments.num_classes, clips) for name in progress]
    print(json.dumps(networks, indent=2) if arguments.json else _table(networks))


def _measure(backbone: str, num_classes: int, clips: list[Any]) -> dict[str, Any]:
    from perfnet_tf.models.complexity import count_multiply_adds, count_parameters
    from perfnet_tf.models.factory import build_model, list_options

    model = build_model(backbone, num_classes)
    multiply_adds = {str(clip): count_multiply_adds(model, clip) for clip in clips}
    return {
        "backbone": backbone,
        "num_classes": num_classes,
        "trainable_parameters": count_parameters(model),
        "gmacs": {clip: round(count / 1e9, 3) for clip, count in multiply_adds.items()},
        "gflops": {clip: round(2 * count / 1e9, 3) for clip, count in multiply_adds.items()},
        "published": PUBLISHED.get(backbone),
        "options": list_options(backbone),
    }


def _table(networks: list[dict[str, Any]]) -> str:
    clips = list(networks[0]["gflops"])
    lines = [
        f"{networks[0]['num_classes']} classes; GFLOPs (GMACs) of one RGB clip",
        "",
        f"{'backbone':<10}{'parameters':>12}" + "".join(f"{clip:>20}" for clip in clips),
    ]
    for network in networks:
        costs = [f"{network['gflops'][c]:.1f} ({network['gmacs'][c]:.1f})" for c in clips]
        parameters = f"{network['trainable_parameters'] / 1e6:.2f} M"
        cells = "".join(f"{cost:>20}" for cost in costs)
        lines.append(f"{network['backbone']:<10}{parameters:>12}{cells}")
    lines += ["", "published:"]
    lines += [f"  {n['backbone']:<10}{n['published']}" for n in networks if n["published"]]
    lines += ["", "options, with defaults:"]
    for network in networks:
        options = " ".join(f"{name}={value}" for name, value in network["options"].items())
        lines.append(f"  {network['backbone']:<10}{options}")
    return "\n".join(lines)


COMMAND = Command("models", "[--json]", _run)
flags.DEFINE_bool("json", False, "Print JSON rather than a table.", flag_values=COMMAND.flags)
flags.DEFINE_integer(
    "num_classes", 600, "Classes of the head.", lower_bound=1, flag_values=COMMAND.flags
)
flags.DEFINE_list(
    "clips", list(CLIPS), "Clip sizes, FRAMESxHEIGHTxWIDTH.", flag_values=COMMAND.flags
)
