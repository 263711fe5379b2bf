"""PERF-Net for TensorFlow: RGB-only action recognisers distilled from optical flow and human pose.

Importing this package does not import TensorFlow: each name below is loaded when first used.

On CPUs import it before TensorFlow, which then computes with oneDNN: on two AVX2 cores a training
step of S3D-G takes a fourth of the time. TensorFlow by itself does so only on Linux and on CPUs
with neural network instructions (AVX-512 VNNI, AVX-VNNI, AMX). `TF_ENABLE_ONEDNN_OPTS=0` turns it
off.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from typing import TYPE_CHECKING

from perfnet_tf.version import __version__

if TYPE_CHECKING:  # what editors and type checkers see; a test holds it against `_PUBLIC`
    from perfnet_tf.backbones import register_backbone as register_backbone
    from perfnet_tf.config import ClipConfig as ClipConfig
    from perfnet_tf.config import DistillConfig as DistillConfig
    from perfnet_tf.config import ExperimentConfig as ExperimentConfig
    from perfnet_tf.config import ModelConfig as ModelConfig
    from perfnet_tf.config import PoseRenderConfig as PoseRenderConfig
    from perfnet_tf.config import TrainConfig as TrainConfig
    from perfnet_tf.datasets.catalog import register_dataset as register_dataset
    from perfnet_tf.distill.distiller import Distiller as Distiller
    from perfnet_tf.errors import FailureError as FailureError
    from perfnet_tf.errors import InputError as InputError
    from perfnet_tf.evaluation.protocol import evaluate_runs as evaluate_runs
    from perfnet_tf.flow.tvl1 import TVL1Params as TVL1Params
    from perfnet_tf.flow.tvl1 import compute_tvl1 as compute_tvl1
    from perfnet_tf.input_pipeline.dataset import build_dataset as build_dataset
    from perfnet_tf.models.factory import build_model as build_model
    from perfnet_tf.models.video_model import VideoModel as VideoModel
    from perfnet_tf.pose.estimators import register_estimator as register_estimator
    from perfnet_tf.pose.rendering import render_pose as render_pose
    from perfnet_tf.prediction.videos import predict_videos as predict_videos
    from perfnet_tf.preparation.config import PrepareConfig as PrepareConfig
    from perfnet_tf.preparation.prepare import prepare as prepare
    from perfnet_tf.presets import PRESETS as PRESETS
    from perfnet_tf.recognizers.exported import load_saved_model as load_saved_model
    from perfnet_tf.recognizers.imported_run import import_weights as import_weights
    from perfnet_tf.recognizers.load import load as load
    from perfnet_tf.recognizers.recognizer import Recognizer as Recognizer
    from perfnet_tf.recognizers.recognizer import Teacher as Teacher
    from perfnet_tf.recognizers.run_directory import load_run as load_run
    from perfnet_tf.records.folder import read_dataset_info as read_dataset_info
    from perfnet_tf.records.schema import DatasetInfo as DatasetInfo
    from perfnet_tf.registry import load_plugin as load_plugin
    from perfnet_tf.saved_model import export_saved_model as export_saved_model
    from perfnet_tf.streams import Source as Source
    from perfnet_tf.streams import Stream as Stream
    from perfnet_tf.streams import register_source as register_source
    from perfnet_tf.streams import register_stream as register_stream
    from perfnet_tf.training.classifier_fitting import fit_classifier as fit_classifier
    from perfnet_tf.training.finetuning import finetune as finetune
    from perfnet_tf.training.finetuning import finetuning_config as finetuning_config
    from perfnet_tf.training.schedules import steps_per_epoch as steps_per_epoch
    from perfnet_tf.training.trainer import train as train
    from perfnet_tf.transfer.transfer import transfer as transfer
    from perfnet_tf.video.decode import read_video as read_video

# oneDNN is a library for x86. TensorFlow reads the variable once, when it is imported.
if platform.machine().lower() in ("x86_64", "amd64") and "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

#: Public name -> the module that defines it.
_PUBLIC = {
    "ClipConfig": "perfnet_tf.config",
    "DatasetInfo": "perfnet_tf.records.schema",
    "DistillConfig": "perfnet_tf.config",
    "Distiller": "perfnet_tf.distill.distiller",
    "ExperimentConfig": "perfnet_tf.config",
    "FailureError": "perfnet_tf.errors",
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
    "VideoModel": "perfnet_tf.models.video_model",
    "build_dataset": "perfnet_tf.input_pipeline.dataset",
    "build_model": "perfnet_tf.models.factory",
    "compute_tvl1": "perfnet_tf.flow.tvl1",
    "evaluate_runs": "perfnet_tf.evaluation.protocol",
    "export_saved_model": "perfnet_tf.saved_model",
    "finetune": "perfnet_tf.training.finetuning",
    "finetuning_config": "perfnet_tf.training.finetuning",
    "fit_classifier": "perfnet_tf.training.classifier_fitting",
    "import_weights": "perfnet_tf.recognizers.imported_run",
    "load": "perfnet_tf.recognizers.load",
    "load_plugin": "perfnet_tf.registry",
    "load_run": "perfnet_tf.recognizers.run_directory",
    "load_saved_model": "perfnet_tf.recognizers.exported",
    "predict_videos": "perfnet_tf.prediction.videos",
    "prepare": "perfnet_tf.preparation.prepare",
    "read_dataset_info": "perfnet_tf.records.folder",
    "read_video": "perfnet_tf.video.decode",
    "register_backbone": "perfnet_tf.backbones",
    "register_dataset": "perfnet_tf.datasets.catalog",
    "register_estimator": "perfnet_tf.pose.estimators",
    "register_source": "perfnet_tf.streams",
    "register_stream": "perfnet_tf.streams",
    "render_pose": "perfnet_tf.pose.rendering",
    "steps_per_epoch": "perfnet_tf.training.schedules",
    "train": "perfnet_tf.training.trainer",
    "transfer": "perfnet_tf.transfer.transfer",
}

__all__ = ["__version__", *sorted(_PUBLIC)]

if not TYPE_CHECKING:  # type checkers would take any name for one of this module's

    def __getattr__(name: str) -> object:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'perfnet_tf' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_PUBLIC[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__
