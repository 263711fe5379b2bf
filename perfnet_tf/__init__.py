"""PERF-Net for TensorFlow: RGB-only action recognisers distilled from optical flow and human pose.

Importing this package does not import TensorFlow: each name below is loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from perfnet_tf.version import __version__

#: Public name -> the module that defines it.
_PUBLIC = {
    "ClipConfig": "perfnet_tf.config",
    "Distiller": "perfnet_tf.distill.distiller",
    "DistillConfig": "perfnet_tf.config",
    "ExperimentConfig": "perfnet_tf.config",
    "InputError": "perfnet_tf.errors",
    "ModelConfig": "perfnet_tf.config",
    "PRESETS": "perfnet_tf.presets",
    "PoseRenderConfig": "perfnet_tf.config",
    "TVL1Params": "perfnet_tf.flow.tvl1",
    "TrainConfig": "perfnet_tf.config",
    "VideoModel": "perfnet_tf.models.video_model",
    "build_dataset": "perfnet_tf.input_pipeline.dataset",
    "build_model": "perfnet_tf.models.factory",
    "compute_tvl1": "perfnet_tf.flow.tvl1",
    "evaluate_runs": "perfnet_tf.evaluation.protocol",
    "export_saved_model": "perfnet_tf.saved_model",
    "load_run": "perfnet_tf.training.run_directory",
    "load_saved_model": "perfnet_tf.saved_model",
    "read_dataset_info": "perfnet_tf.records.folder",
    "read_video": "perfnet_tf.video.decode",
    "register_backbone": "perfnet_tf.backbones",
    "render_pose": "perfnet_tf.pose.rendering",
    "steps_per_epoch": "perfnet_tf.training.schedules",
    "train": "perfnet_tf.training.trainer",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'perfnet_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
