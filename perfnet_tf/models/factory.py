"""Backbones by name."""

from __future__ import annotations

import inspect
from typing import Any

from perfnet_tf.config import BACKBONES, ModelConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.resnet3d import ResNet3D50
from perfnet_tf.models.s3d import S3D
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import RGB

#: Backbone -> its class, and what its name says of its options.
ARCHITECTURES: dict[str, tuple[type[VideoModel], dict[str, Any]]] = {
    "r3d50_g": (ResNet3D50, {}),
    "r3d50": (ResNet3D50, {"gating": "none"}),
    "s3d_g": (S3D, {}),
    "s3d": (S3D, {"gating": "none"}),
}


def build_model(backbone: str, num_classes: int, stream: str = RGB, **options: Any) -> VideoModel:
    """Makes a network with fresh weights, created under the current strategy and Keras policy.

    Args:
        backbone: `r3d50_g` (PERF-Net Table 1), `s3d_g`, or `r3d50`, `s3d` without gating.
        num_classes: number of logits.
        stream: `rgb`, `flow` or `pose`.
        **options: constructor arguments of the backbone's class, `ResNet3D50` or `S3D`.

    Raises:
        InputError: an unknown backbone or option, or a value that breaks a rule.
    """
    check_choice("backbone", backbone, BACKBONES)
    architecture, implied = ARCHITECTURES[backbone]
    known = list_options(backbone)
    for option, value in options.items():
        check_choice(f"An option of {backbone}", option, known)
        if implied.get(option, value) != value:
            raise InputError(
                f"{backbone} is {option}={implied[option]!r}. Received: {option}={value!r}. "
                f"Take {backbone}_g."
            )
    if backbone.endswith("_g") and options.get("gating") == "none":
        raise InputError(
            f"{backbone} has feature gating. Received: gating='none'. "
            f"Take {backbone.removesuffix('_g')}."
        )
    model = architecture(num_classes, stream=stream, **{**implied, **options})
    return model.build_for_stream()


def build_from_config(config: ModelConfig, num_classes: int, stream: str = RGB) -> VideoModel:
    """`build_model` of a `ModelConfig`; see there."""
    return build_model(
        config.backbone,
        num_classes,
        stream,
        width_multiplier=config.width_multiplier,
        dropout_rate=config.dropout_rate,
        weight_decay=config.weight_decay,
        **config.options,
    )


def list_options(backbone: str) -> dict[str, Any]:
    """Option -> default of a backbone: what `build_model` takes besides stream and classes."""
    check_choice("backbone", backbone, BACKBONES)
    architecture, implied = ARCHITECTURES[backbone]
    parameters: dict[str, inspect.Parameter] = {}
    for cls in (VideoModel, architecture):
        parameters.update(inspect.signature(cls.__init__).parameters)
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in ("stream", "name")
    }
    return {**defaults, **implied}
