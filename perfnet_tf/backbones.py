"""The backbones by name, and how to add one.

A custom backbone is a class in a plugin (`perfnet_tf.registry`):

    class MyNet(perfnet_tf.VideoModel):
        def __init__(self, num_classes, *, depth=3, **kwargs):
            super().__init__(num_classes, **kwargs)
            ...

        def feature_maps(self, inputs, training):
            return {"features": ...}  # [batch, frames, height, width, channels]

        def get_config(self):
            return {**super().get_config(), "depth": self.depth}

    perfnet_tf.register_backbone("my_net", MyNet)

Then `my_net` is a backbone everywhere: in `build_model`, `ModelConfig`, `--backbone`, runs and
exports.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perfnet_tf.errors import InputError
from perfnet_tf.registry import Registry

#: Arguments of every network that `ModelConfig` sets, or that `build_model` takes itself.
_CONFIGURED = (
    "num_classes",
    "stream",
    "name",
    "width_multiplier",
    "dropout_rate",
    "weight_decay",
)


@dataclass(frozen=True)
class Backbone:
    """How a backbone is built.

    Attributes:
        network: a subclass of `VideoModel`, or its import path, `package.module:Class`.
        fixed: constructor arguments that belong to the name and cannot be changed by options.
        title: the name in tables and figures.
        defaults: constructor arguments that differ from the class's defaults; options change them.
    """

    network: type | str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def load_class(self) -> Any:
        """The class; imports it if `network` is a path.

        Raises:
            InputError: there is no such class.
        """
        if not isinstance(self.network, str):
            return self.network
        module, _, name = self.network.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(
                "The import path of a backbone's class is package.module:Class. Received: "
                f"{self.network!r} ({type(error).__name__}: {error})."
            ) from error


_R3D50 = "perfnet_tf.models.resnet3d:ResNet3D50"
_S3D = "perfnet_tf.models.s3d:S3D"
#: As published, a head of windows included; neutral gates let I3D's weights fit with gates as well.
_I3D = {"stem_temporal_kernel": 7, "head": "windows"}

BACKBONES: Registry[Backbone] = Registry(
    "backbone",
    {
        "r3d50_g": Backbone(_R3D50, title="R3D50-G"),
        "r3d50": Backbone(_R3D50, {"gating": "none"}, "R3D50"),
        "s3d_g": Backbone(_S3D, title="S3D-G"),
        "s3d": Backbone(_S3D, {"gating": "none"}, "S3D"),
        "i3d_g": Backbone(_S3D, {"kernels": "full"}, "I3D-G", {**_I3D, "neutral_gates": True}),
        "i3d": Backbone(_S3D, {"kernels": "full", "gating": "none"}, "I3D", _I3D),
    },
)


def register_backbone(name: str, cls: type | str, **fixed: Any) -> None:
    """Makes a network available by name.

    Args:
        name: lower-case letters, digits and underscores; the value of `ModelConfig.backbone`.
        cls: a subclass of `perfnet_tf.VideoModel`, or its import path `package.module:Class`. Its
            constructor takes `num_classes` and passes `VideoModel`'s keyword arguments on; its own
            keyword arguments are the backbone's options, which its `get_config` returns.
        **fixed: constructor arguments that belong to this name. Register the class again under
            another name for other values.

    Raises:
        InputError: the name is taken or malformed, `cls` is not a class, or `fixed` holds an
            argument that `ModelConfig` or `build_model` sets.
    """
    if not isinstance(cls, (type, str)):
        raise InputError(
            f"A backbone is a class, or its import path package.module:Class. Received: {cls!r}."
        )
    taken = [argument for argument in fixed if argument in _CONFIGURED]
    if taken:
        raise InputError(
            f"A backbone cannot fix {', '.join(_CONFIGURED)}: they are set for each run. "
            f"Received: {', '.join(taken)}. Leave them out."
        )
    BACKBONES.register(name, Backbone(cls, dict(fixed), name))
