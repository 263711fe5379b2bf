"""`transfer`: a run of S3D-G that begins with what an I3D knows."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from perfnet_tf.config import ClipConfig, TrainConfig
from perfnet_tf.errors import InputError, check_choice, check_whole
from perfnet_tf.files import check_new_or_empty
from perfnet_tf.input_pipeline.dataset import build_dataset, explaining_damaged_records, streams_of
from perfnet_tf.models.factory import build_model, config_of_options
from perfnet_tf.models.s3d import S3D
from perfnet_tf.recognizers.load import Network, load
from perfnet_tf.recognizers.recognizer import Recognizer
from perfnet_tf.recognizers.run_directory import Run, save_run
from perfnet_tf.records.folder import read_dataset_info
from perfnet_tf.records.reader import check_streams
from perfnet_tf.training.fitting import TRAIN_SPLIT
from perfnet_tf.training.sources import describe, describe_dataset
from perfnet_tf.transfer.stages import HELD_OUT, copy_alike, separate_stages

#: What is fitted to: larger clips take more memory, and fit as well for other sizes.
CLIP = ClipConfig(32, 128, 128, frame_stride=2, short_side=146)
#: What `transfer` makes.
BACKBONES = ("s3d_g", "s3d")


def transfer(
    initial: Network,
    data: str | pathlib.Path,
    output: str | pathlib.Path,
    *,
    backbone: str = "s3d_g",
    clip: ClipConfig | None = None,
    num_clips: int = 192,
    places: int = 16384,
    batch_size: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> Run:
    """Makes an S3D or S3D-G that answers as an I3D does: with its classes, in half its operations.

        transfer("i3d_kinetics400", "data", "runs/s3d_g")

    Layers that both networks have are copied. Each 3x3x3 convolution becomes a 1x3x3 and a 3x1x1
    one, fitted to what it answers on clips of `data`, whose labels nothing looks at. Gates that
    `initial` lacks begin as the identity. The result is a run like any other: a start for
    `fit_classifier`, `train` (also with teachers) and `finetune`.

    Args:
        initial: a pretrained network, a run, or an export that can be trained, of `i3d` or `i3d_g`.
        data: a prepared dataset with a split `train`; labels may be missing.
        output: folder of the new run: new or empty.
        backbone: one of `BACKBONES`.
        clip: what is cut of every video to fit to, in random views; None is `CLIP`. The run expects
            the clips that `initial` does.
        num_clips: views that are cut. The last eighth is measured on, not fitted to.
        places: in feature maps, over all clips, that each convolution is fitted to. Memory grows
            with both: 4 GiB for the defaults.
        batch_size: clips that pass the networks at once.
        seed: of the views and the places.
        progress: report on standard error.

    Returns:
        The run. Its `run.json` says under `transferred` what each convolution misses of what it
        replaces, and how alike the networks answer.

    Raises:
        InputError: another network, data that do not fit, too few clips, or an `output` in use.
    """
    check_choice("backbone", backbone, BACKBONES)
    check_whole(num_clips=num_clips, places=places, batch_size=batch_size)
    check_new_or_empty(output)
    network = load(initial, trainable=True)
    source = network.run()
    full = source.model
    if not isinstance(full, S3D) or full.kernels != "full":
        raise InputError(
            f"{backbone} takes over what an i3d or i3d_g knows. Received: a network of "
            f"{full.backbone}. Name another, such as i3d_kinetics400."
        )
    if backbone == "s3d" and full.gating != "none":
        raise InputError(
            f"A network keeps its gates. Received: {full.backbone}, which has gates, which s3d "
            "lacks. Take s3d_g."
        )
    info = read_dataset_info(data)
    check_streams([network.stream], info)
    num_batches = num_clips // batch_size
    if num_batches < HELD_OUT:
        raise InputError(
            f"`num_clips` makes at least {HELD_OUT} batches. Received: {num_clips} clips in "
            f"batches of {batch_size}."
        )
    options = separable_options(full, backbone)
    target = build_model(backbone, full.num_classes, full.stream, **options)
    copy_alike(full, target)
    with explaining_damaged_records(data, TRAIN_SPLIT):
        batches = _read_batches(network, data, clip or CLIP, batch_size, num_batches, seed)
    units = separate_stages(full, target, batches, places=places, seed=seed)
    num_units = sum(layer.name == "temporal" for layer in target.submodules)
    errors = list(tqdm(units, "convolutions", num_units, disable=not progress))
    held_out = batches[-max(1, num_batches // HELD_OUT) :]
    record = {
        "dataset": describe_dataset(info, TRAIN_SPLIT),
        "initial": describe(initial),
        "transferred": {
            "clip": str(clip or CLIP),
            "clips": num_batches * batch_size,
            "places": places,
            "seed": seed,
            **_agreement(full, target, held_out),
            "missed": {error.place: error.held_out for error in errors},
        },
    }
    published = source.record.get("pretrained")
    if published:
        record["pretrained"] = {**published, "trained_further": True}
    config = source.config.replace(
        model=config_of_options(backbone, options), distill=None, train=TrainConfig()
    )
    return save_run(output, config, source.classes, target, **record)


def separable_options(full: S3D, backbone: str) -> dict[str, Any]:
    """Options of `build_model` for the separable network: the full one's, but kernels and gates."""
    config = full.get_config()
    for name in ("num_classes", "stream", "name", "gating", "neutral_gates"):
        del config[name]
    config["kernels"] = "separable"
    if backbone == "s3d_g":
        gated = full.gating != "none"
        config["gating"] = full.gating if gated else "branch"
        config["neutral_gates"] = full.neutral_gates if gated else True
    return config


def _read_batches(
    network: Recognizer,
    data: str | pathlib.Path,
    clip: ClipConfig,
    batch_size: int,
    count: int,
    seed: int,
) -> list[np.ndarray]:
    """Clips as the network sees them, in random views."""
    dataset = build_dataset(
        data,
        TRAIN_SPLIT,
        clip=clip,
        streams=[network.stream],
        batch_size=batch_size,
        training=True,
        seed=seed,
    )
    return [
        streams_of(batch, [network.stream], network.render)[network.stream].numpy()
        for batch in dataset.take(count)
    ]


def _agreement(full: S3D, target: S3D, batches: Sequence[np.ndarray]) -> dict[str, float]:
    """How alike both answer: share of equal first answers, correlation of logits."""

    @tf.function(autograph=False, reduce_retracing=True)
    def answers(clips: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return full(clips, training=False), target(clips, training=False)

    pairs = [answers(tf.constant(clips)) for clips in batches]
    wanted, found = (np.concatenate([pair[i].numpy() for pair in pairs]) for i in (0, 1))
    return {
        "same_first_answer": float(np.mean(wanted.argmax(axis=1) == found.argmax(axis=1))),
        "correlation_of_logits": float(np.corrcoef(wanted.ravel(), found.ravel())[0, 1]),
    }
