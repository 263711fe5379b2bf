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
    "DatasetInfo": "perfnet_tf.records.schema",
    "DistillConfig": "perfnet_tf.config",
    "Distiller": "perfnet_tf.distill.distiller",
    "ExperimentConfig": "perfnet_tf.config",
    "InputError": "perfnet_tf.errors",
    "ModelConfig": "perfnet_tf.config",
    "PRESETS": "perfnet_tf.presets",
    "PoseRenderConfig": "perfnet_tf.config",
    "PrepareConfig": "perfnet_tf.preparation.config",
    "Recognizer": "perfnet_tf.recognizers.recognizer",
    "Source": "perfnet_tf.streams",
    "Stream": "perfnet_tf.streams",
    "TVL1Params": "perfnet_tf.flow.tvl1",
    "Teacher": "perfnet_tf.recognizers.recognizer",
    "TrainConfig": "perfnet_tf.config",
    "build_dataset": "perfnet_tf.input_pipeline.dataset",
    "build_model": "perfnet_tf.models.factory",
    "compute_tvl1": "perfnet_tf.flow.tvl1",
    "evaluate_runs": "perfnet_tf.evaluation.protocol",
    "export_saved_model": "perfnet_tf.saved_model",
    "import_weights": "perfnet_tf.recognizers.imported_run",
    "load": "perfnet_tf.recognizers.load",
    "load_run": "perfnet_tf.recognizers.run_directory",
    "load_saved_model": "perfnet_tf.recognizers.exported",
    "predict_videos": "perfnet_tf.prediction.videos",
    "prepare": "perfnet_tf.preparation.prepare",
    "read_dataset_info": "perfnet_tf.records.folder",
    "read_video": "perfnet_tf.video.decode",
    "register_dataset": "perfnet_tf.datasets.catalog",
    "register_estimator": "perfnet_tf.pose.estimators",
    "register_source": "perfnet_tf.streams",
    "register_stream": "perfnet_tf.streams",
    "render_pose": "perfnet_tf.pose.rendering",
    "train": "perfnet_tf.training.trainer",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'perfnet_tf' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
