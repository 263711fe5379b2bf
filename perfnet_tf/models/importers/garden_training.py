"""What Model Garden's trainer writes next to its checkpoints, and no tensor determines."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Any

import yaml

from perfnet_tf.errors import InputError, first_line

#: The trainer's configuration, in the folder of the training.
PARAMS_FILE = "params.yaml"
#: Raised where a file holds something else than is looked for, or holds it too deep.
_OTHER_CONTENT = (LookupError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Training:
    """What a training's configuration says.

    Attributes:
        options: of `ResNet3D50`.
        clip: that the network was trained on, FRAMESxHEIGHTxWIDTH; None if it does not say.
        file: the configuration; None if there is none.
    """

    options: dict[str, Any] = field(default_factory=dict)
    clip: str | None = None
    file: pathlib.Path | None = None


class _Loader(yaml.SafeLoader):
    """YAML without code, but for the tuples that Model Garden writes."""


_Loader.add_constructor(
    "tag:yaml.org,2002:python/tuple",
    lambda loader, node: tuple(loader.construct_sequence(node, deep=True)),
)


def read_training(checkpoint: pathlib.Path) -> Training:
    """The configuration in a checkpoint's folder or in the one above (`best_ckpt/`).

    Other tools, too, call their files so: one without a `task` says nothing here.

    Raises:
        InputError: there is one that cannot be read.
    """
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        file = folder / PARAMS_FILE
        if file.is_file():
            break
    else:
        return Training()
    try:
        params = yaml.load(file.read_text(), _Loader)
        if not isinstance(params, dict) or "task" not in params:
            return Training()
        model = params["task"]["model"]
        stem, norm = model["backbone"]["resnet_3d"], model["norm_activation"]
        data = params["task"].get("train_data") or {}
        options = {
            "stem_temporal_strides": (
                int(stem["stem_conv_temporal_stride"]),
                int(stem["stem_pool_temporal_stride"]),
            ),
            "batch_norm_momentum": float(norm["norm_momentum"]),
            "batch_norm_epsilon": float(norm["norm_epsilon"]),
            "dropout_rate": float(model["dropout_rate"]),
            "input_scaling": "signed" if data.get("zero_centering_image") else "unit",
        }
        shape = data.get("feature_shape")
        clip = "x".join(str(int(size)) for size in shape[:3]) if shape else None
    except (OSError, yaml.YAMLError, *_OTHER_CONTENT) as error:
        raise InputError(
            f"{file} next to the checkpoint is not a configuration of Model Garden's ResNet3D "
            f"({type(error).__name__}: {first_line(error)}). Move it away, and give "
            "what the training had as `options`."
        ) from error
    return Training(options, clip, file)
