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
    "i3d": "12.06 M parameters with 400 classes, 107.89 GMACs at 64x224x224 (Xie et al. 2018)",
    "s3d": "8.32 M parameters with 400 classes (torchvision's variant: see `S3D`'s options)",
}

#: Other networks under the same names: what differs -> backbone and options. The paper's figure
#: decides which reading of Table 1 is the default.
READINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "caption of Table 1 to the letter": ("r3d50_g", {"temporal_kernels": "caption"}),
    "every cell gated": ("r3d50_g", {"gating": "cell"}),
    "gates before the addition": ("r3d50_g", {"gating": "block_residual"}),
    "conv1 of 3 frames": ("r3d50_g", {"stem_temporal_kernel": 3}),
    "conv1 of 7 frames": ("r3d50_g", {"stem_temporal_kernel": 7}),
    "all first kernels of 3 frames": (
        "r3d50_g",
        {"temporal_kernels": [[3] * cells for cells in (3, 4, 6, 3)]},
    ),
    "stride on the first convolution": ("r3d50_g", {"stride_on": "temporal"}),
    "Model Garden's strides over time": ("r3d50_g", {"stem_temporal_strides": [2, 2]}),
    "temporal downsampling": ("r3d50_g", {"temporal_downsampling": True}),
    "first kernel of 7 frames": ("s3d_g", {"stem_temporal_kernel": 7}),
    "gates on cells, temporal batch norm": (
        "s3d_g",
        {"gating": "cell", "temporal_batch_norm": True, "batch_norm_scale": True},
    ),
    "torchvision's": (
        "s3d",
        {
            "stem_temporal_kernel": 7,
            "separable_stem": True,
            "temporal_batch_norm": True,
            "batch_norm_scale": True,
            "padding": "symmetric",
        },
    ),
}


def _run(arguments: flags.FlagValues, positional: list[str]) -> None:
    """Lists the architectures with their options, parameters and arithmetic.

    Counted from the graph that runs: convolutions and matrix products, a multiply-add (MAC) being
    two floating-point operations, of one RGB clip. Published figures are next to it, marked.
    --readings counts other readings of the papers, and others' variants, too.
    """
    from tqdm import tqdm

    from perfnet_tf.backbones import BACKBONES
    from perfnet_tf.config import ClipConfig

    clips = [ClipConfig.parse(text) for text in arguments.clips]
    wanted: list[tuple[str | None, str, dict[str, Any]]] = [(None, name, {}) for name in BACKBONES]
    if arguments.readings:
        wanted += [(reading, *network) for reading, network in READINGS.items()]
    networks = [
        _measure(backbone, options, reading, arguments.num_classes, clips)
        for reading, backbone, options in tqdm(wanted, desc="counting", unit="network", leave=False)
    ]
    print(json.dumps(networks, indent=2) if arguments.json else _table(networks))


def _measure(
    backbone: str,
    options: dict[str, Any],
    reading: str | None,
    num_classes: int,
    clips: list[Any],
) -> dict[str, Any]:
    from perfnet_tf.models.complexity import count_gflops, count_parameters
    from perfnet_tf.models.factory import build_model, list_options

    model = build_model(backbone, num_classes, **options)
    gflops = {str(clip): count_gflops(model, clip) for clip in clips}
    return {
        "backbone": backbone,
        "reading": reading,
        "num_classes": num_classes,
        "trainable_parameters": count_parameters(model),
        "gmacs": {clip: round(count / 2, 3) for clip, count in gflops.items()},
        "gflops": {clip: round(count, 3) for clip, count in gflops.items()},
        "published": None if reading else PUBLISHED.get(backbone),
        "options": {**list_options(backbone), **options},
    }


def _table(networks: list[dict[str, Any]]) -> str:
    clips = list(networks[0]["gflops"])
    labels = [network["reading"] or network["backbone"] for network in networks]
    width = max(map(len, labels)) + 2
    lines = [
        f"{networks[0]['num_classes']} classes; GFLOPs (GMACs) of one RGB clip",
        "",
        f"{'':<{width}}{'parameters':>12}" + "".join(f"{clip:>20}" for clip in clips),
    ]
    main = [network for network in networks if network["reading"] is None]
    for network, label in zip(networks, labels, strict=True):
        if network["reading"] is not None and network is networks[len(main)]:
            lines += ["", "other readings and variants:"]
        costs = [f"{network['gflops'][c]:.1f} ({network['gmacs'][c]:.1f})" for c in clips]
        parameters = f"{network['trainable_parameters'] / 1e6:.2f} M"
        cells = "".join(f"{cost:>20}" for cost in costs)
        lines.append(f"{label:<{width}}{parameters:>12}{cells}")
    lines += ["", "published:"]
    lines += [f"  {n['backbone']:<10}{n['published']}" for n in main if n["published"]]
    lines += ["", "options, with defaults:"]
    for network in main:
        options = " ".join(f"{name}={value}" for name, value in network["options"].items())
        lines.append(f"  {network['backbone']:<10}{options}")
    if len(main) < len(networks):
        lines += ["", "options of the others:"]
    for network in networks[len(main) :]:
        _, changed = READINGS[network["reading"]]
        options = " ".join(f"{name}={value}" for name, value in changed.items())
        lines.append(f"  {network['reading']:<{width}}{network['backbone']} {options}")
    return "\n".join(lines)


COMMAND = Command("models", "[--json] [--readings]", _run)
COMMAND.boolean("readings", False, "Count other readings and variants, too.")
COMMAND.boolean("json", False, "Print JSON rather than a table.")
COMMAND.integer("num_classes", 600, "Classes of the head.", lower_bound=1)
COMMAND.list("clips", list(CLIPS), "Clip sizes, FRAMESxHEIGHTxWIDTH.")
