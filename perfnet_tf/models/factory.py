"""Backbones by name."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from perfnet_tf.backbones import BACKBONES, Backbone
from perfnet_tf.config import ModelConfig
from perfnet_tf.errors import InputError, check_choice
from perfnet_tf.models.video_model import VideoModel
from perfnet_tf.streams import RGB


def build_model(backbone: str, num_classes: int, stream: str = RGB, **options: Any) -> VideoModel:
    """Makes a network with fresh weights, created under the current strategy and Keras policy.

    Args:
        backbone: `r3d50_g` (PERF-Net Table 1), `s3d_g`, `i3d_g`; `r3d50`, `s3d` or `i3d` (without
            gating); or a registered one (`register_backbone`).
        num_classes: number of logits.
        stream: `rgb`, `flow` or `pose`.
        **options: constructor arguments of the backbone's class, such as `ResNet3D50` or `S3D`.

    Raises:
        InputError: an unknown backbone or option, or a value that breaks a rule.
    """
    architecture, entry = _architecture(backbone)
    fixed = entry.fixed
    known = list_options(backbone)
    for option, value in options.items():
        check_choice(f"An option of {backbone}", option, known)
        if fixed.get(option, value) != value:
            raise InputError(
                f"{backbone} is {option}={fixed[option]!r}. Received: {option}={value!r}. "
                f"Take {_name_of_others(backbone, option)}."
            )
        named = _name_of(backbone, option, value)
        if named is not None:
            raise InputError(
                f"{backbone} is not {option}={value!r}. Received: {option}={value!r}. Take {named}."
            )
    model = architecture(num_classes, stream=stream, **{**entry.defaults, **fixed, **options})
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


def config_of_options(backbone: str, options: Mapping[str, Any]) -> ModelConfig:
    """The `ModelConfig` that `build_from_config` makes the same network of.

    Args:
        backbone: its name.
        options: of `build_model`; what the backbone has anyway is left out.

    Raises:
        InputError: an unknown backbone.
    """
    defaults = list_options(backbone)
    fields = {field.name for field in dataclasses.fields(ModelConfig)} - {"backbone", "options"}
    changed = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if name not in fields and value != defaults[name]
    }
    given = {name: value for name, value in options.items() if name in fields}
    return ModelConfig(backbone, **given, options=changed)


def list_options(backbone: str) -> dict[str, Any]:
    """Option -> default of a backbone: what `build_model` takes besides stream and classes.

    An option without a default is listed with None.

    Raises:
        InputError: an unknown backbone.
    """
    architecture, entry = _architecture(backbone)
    parameters: dict[str, inspect.Parameter] = {}
    for cls in reversed(architecture.__mro__):
        if not issubclass(cls, VideoModel) or "__init__" not in vars(cls):
            continue
        own = inspect.signature(cls.__init__).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in own.values()):
            parameters = {}
        parameters.update(own)
    defaults = {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in ("self", "num_classes", "stream", "name")
    }
    return {**defaults, **entry.defaults, **entry.fixed}


def _architecture(backbone: str) -> tuple[type[VideoModel], Backbone]:
    """The class of a backbone, and its entry."""
    entry = BACKBONES.choose(backbone)
    architecture = entry.load_class()
    if not (isinstance(architecture, type) and issubclass(architecture, VideoModel)):
        raise InputError(
            f"A backbone's class must be a subclass of VideoModel. Received: {architecture!r} for "
            f"{backbone}. Derive it from perfnet_tf.VideoModel."
        )
    return architecture, entry


def _siblings(backbone: str) -> dict[str, Mapping[str, Any]]:
    """Name -> fixed arguments of the other backbones of the same class."""
    network = BACKBONES[backbone].network
    return {
        name: entry.fixed
        for name, entry in BACKBONES.items()
        if entry.network == network and name != backbone
    }


def _name_of(backbone: str, option: str, value: Any) -> str | None:
    """The other backbone that this value makes of `backbone`: one network has one name."""
    mine = BACKBONES[backbone].fixed
    siblings = _siblings(backbone).items()
    return next((name for name, fixed in siblings if fixed == {**mine, option: value}), None)


def _name_of_others(backbone: str, option: str) -> str:
    """The backbone of the same class that leaves `option` open, and only that if there is one."""
    mine = BACKBONES[backbone].fixed
    siblings = [(name, fixed) for name, fixed in _siblings(backbone).items() if option not in fixed]
    siblings.sort(key=lambda sibling: {**sibling[1], option: mine[option]} != mine)
    return siblings[0][0] if siblings else "another backbone"
