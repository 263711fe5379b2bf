"""What a benchmark measures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from perfnet_tf.backbones import BACKBONES
from perfnet_tf.config import INFERENCE_PRECISIONS, ClipConfig
from perfnet_tf.errors import InputError, check_choice

#: Of contenders.
PRECISIONS = (*INFERENCE_PRECISIONS, "int8")
#: Where a backbone is not measured at `DEFAULT_CLIP`: torchvision's S3D takes no smaller pictures.
DEFAULT_CLIPS = {"s3d_g": ClipConfig(16, 224, 224), "s3d": ClipConfig(16, 224, 224)}
DEFAULT_CLIP = ClipConfig(16, 112, 112)


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure.

    Attributes:
        backbone: `r3d50_g`, next to Model Garden's `ResNet3D`, `s3d_g`, next to torchvision's, or
            any other, alone.
        clip: frames, height and width.
        batch: clips per run.
        rounds: runs of each contender that count.
        precisions: of all sides; `bfloat16` is mixed precision or autocast where users have that,
            `int8` is of the runtimes that quantise this package's networks.
        training: measure a training step rather than inference; against Model Garden only.
        peers: whether to run others' networks at all.
        runtimes: whether to run this package's network in the runtimes that are installed here.
        torch_python: interpreter of an environment with torch and torchvision; None leaves
            torchvision out.
        threads: of each contender; 0 leaves that to its library.
        num_classes: of every network.
    """

    backbone: str = "r3d50_g"
    clip: ClipConfig = ClipConfig(16, 112, 112)
    batch: int = 1
    rounds: int = 5
    precisions: tuple[str, ...] = PRECISIONS
    training: bool = False
    peers: bool = True
    runtimes: bool = True
    torch_python: str | None = None
    threads: int = 0
    num_classes: int = 400

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, BACKBONES)
        for precision in self.precisions:
            check_choice("precision", precision, PRECISIONS)
        for name in ("batch", "rounds", "num_classes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be 1 or greater. Received: {getattr(self, name)}.")
        if not self.precisions:
            raise InputError("At least one precision must be measured. Received: none.")
        if self.training and self.torch_python and self.backbone == "s3d_g":
            raise InputError(
                "Training steps are measured against Model Garden only. Received: s3d_g with a "
                "torch_python. Take r3d50_g."
            )
        if self.torch_python is not None and shutil.which(self.torch_python) is None:
            raise InputError(
                f"An interpreter was expected. Received: `torch_python`={self.torch_python}, which "
                "does not start."
            )

    @property
    def float_precisions(self) -> tuple[str, ...]:
        """Those that frameworks compute in; `int8` needs a runtime."""
        return tuple(name for name in self.precisions if name in INFERENCE_PRECISIONS)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[batch, frames, height, width]."""
        return (self.batch, self.clip.num_frames, self.clip.height, self.clip.width)


def default_clip(backbone: str) -> ClipConfig:
    """The clip that a backbone is measured on."""
    return DEFAULT_CLIPS.get(backbone, DEFAULT_CLIP)
