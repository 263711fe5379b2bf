"""torchvision's S3D as a contender. Runs in an environment with torch and torchvision, as a file.

    python torch_contender.py '{"precision": "float32", "channels_last": false, ...}'

The specification: `precision` (float32, or bfloat16 by autocast), `channels_last`, `shape` of the
clip whose logits are written to the file `logits`, `weights` (a `.safetensors` file, written if
there is none: the weights are the same each time), `threads` (0: torch's own choice),
`num_classes`.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from typing import Any

import numpy as np
import protocol
import torch
from torchvision.models.video import s3d

# torchvision's transforms.VideoClassification, which its weights expect.
MEAN = (0.43216, 0.394666, 0.37645)
DEVIATION = (0.22803, 0.22145, 0.216989)


def main(spec: dict[str, Any]) -> None:
    """Builds the network as `spec` says, then answers."""
    if spec["threads"]:
        torch.set_num_threads(spec["threads"])
    model = s3d(weights=None, num_classes=spec["num_classes"]).eval()
    look_trained(model)
    if not pathlib.Path(spec["weights"]).exists():
        floats = {n: t.numpy() for n, t in model.state_dict().items() if t.is_floating_point()}
        protocol.write_safetensors(spec["weights"], floats)
    layout = torch.channels_last_3d if spec["channels_last"] else torch.contiguous_format
    model = model.to(memory_format=layout)
    mean = torch.tensor(MEAN)[None, :, None, None, None]
    deviation = torch.tensor(DEVIATION)[None, :, None, None, None]
    half = spec["precision"] == "bfloat16"

    def run(clip: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            frames = torch.from_numpy(clip).permute(0, 4, 1, 2, 3)
            frames = ((frames - mean) / deviation).contiguous(memory_format=layout)
            return np.asarray(model(frames).float().numpy())

    np.save(spec["logits"], run(protocol.example_clip(spec["shape"])))
    protocol.serve(run)


def look_trained(model: torch.nn.Module) -> None:
    """Gives a fresh network the statistics of `protocol.trained_looking`."""
    rng = np.random.default_rng(0)
    names = {"weight": "gamma", "running_var": "variance"}
    for module in model.modules():
        norm = isinstance(module, torch.nn.BatchNorm3d)
        tensors = dict(module.named_parameters(recurse=False))
        tensors |= dict(module.named_buffers(recurse=False))
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                continue
            # [filters, channels, ...] -> [..., channels, filters], what fan-in is counted on
            shape = tuple(tensor.shape[2:]) + tuple(reversed(tensor.shape[:2]))
            if tensor.dim() < 3:
                shape = tuple(tensor.shape)
            value = protocol.trained_looking(names.get(name, name) if norm else name, shape, rng)
            if tensor.dim() > 2:
                value = np.moveaxis(value, (-1, -2), (0, 1))
            tensor.data.copy_(torch.from_numpy(np.ascontiguousarray(value)))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
