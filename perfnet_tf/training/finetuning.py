"""Fine-tuning: a trained network on other data, by cross-entropy only (PERF-Net Sec. 4.4)."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

from perfnet_tf.config import ExperimentConfig, ModelConfig, TrainConfig
from perfnet_tf.models.factory import list_options
from perfnet_tf.presets import FINETUNING, load_preset
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.run_directory import Run
from perfnet_tf.streams import POSE
from perfnet_tf.training.trainer import train

_MOMENTUM = "batch_norm_momentum"


def continued_config(
    initial: ExperimentConfig, stream: str, config: ExperimentConfig | str | None = None
) -> ExperimentConfig:
    """The configuration that trains a trained network for another stream.

    Args:
        initial: of the trained network.
        stream: what the new network receives.
        config: clips, optimisation and regularisation, or what `load_preset` takes; None keeps
            the network's clips and regularisation and trains by the defaults of `TrainConfig`.

    Returns:
        `config` with the network of `initial` and `stream`; the drawing is that of `initial` where
        that is a network of pose.

    Raises:
        InputError: an unknown preset.
    """
    if config is None:
        config = initial.replace(train=TrainConfig())
    elif isinstance(config, str):
        config = load_preset(config)
    if initial.stream == POSE:
        config = config.replace(pose_render=initial.pose_render)
    return config.replace(stream=stream, model=network_of(initial, config), distill=None)


def finetuning_config(
    initial: ExperimentConfig, config: ExperimentConfig | str | None = None
) -> ExperimentConfig:
    """The configuration that fine-tunes a trained network.

    Args:
        initial: of the trained network.
        config: clips, optimisation and regularisation (dropout and weight decay), or what
            `load_preset` takes; None keeps the network's clips and regularisation and trains by
            `presets.FINETUNING`.

    Returns:
        `config` with stream, network and drawing of `initial`, and without teachers.

    Raises:
        InputError: an unknown preset.
    """
    if config is None:
        config = initial.replace(train=FINETUNING)
    elif isinstance(config, str):
        config = load_preset(config)
    return config.replace(
        stream=initial.stream,
        model=network_of(initial, config),
        pose_render=initial.pose_render,
        distill=None,
    )


def network_of(initial: ExperimentConfig, config: ExperimentConfig) -> ModelConfig:
    """The network of `initial`, trained as `config` says.

    Dropout and weight decay are those of `config`, and so is the momentum of batch norms' moving
    averages where `config` states one that the network takes: averages that follow in some hundred
    steps are a matter of the training, whatever network it begins with.
    """
    options = dict(initial.model.options)
    momentum = config.model.options.get(_MOMENTUM)
    if momentum is not None and _MOMENTUM in list_options(initial.model.backbone):
        options[_MOMENTUM] = momentum
    return dataclasses.replace(
        initial.model,
        dropout_rate=config.model.dropout_rate,
        weight_decay=config.model.weight_decay,
        options=options,
    )


def finetune(
    initial: Network,
    data: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    config: ExperimentConfig | str | None = None,
    **options: Any,
) -> Run:
    """Trains a network further on other data, by cross-entropy only.

        finetune("student", "data", "runs/mine")

    Classes that both have by name keep their part of the classifier. Call it again with the same
    arguments to resume an interrupted run.
    `perfnet_tf.reproduction.finetuning.finetune_splits` fine-tunes on every official split.

    Args:
        initial: the run, or the export that can be trained, whose weights are the first.
        data: a prepared dataset with a split `train`.
        output: folder of the new run: new, empty, or of this very run.
        config: clips and optimisation; the name of a preset or the path of a run's `config.json`;
            or None for the clips of `initial` and the short training of `presets.FINETUNING`.
            Network, stream and drawing are those of `initial` in any case. To change one setting,
            start from `finetuning_config(load(initial).config)`.
        **options: of `train`, such as `strategy`, `callbacks` or `progress`.

    Returns:
        The new run, finished.

    Raises:
        InputError, FailureError: as `train`.
    """
    network = load(initial, trainable=True)
    config = finetuning_config(network.run().config, config)
    return train(config, data, output, initial=network, **options)
