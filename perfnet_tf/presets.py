"""Named experiments: `--preset=NAME` sets everything, flags override it.

A preset says what is trained and how; `stream` and the teachers are chosen on the command line.
The `paper` ones state PERF-Net Sec. 4 for the slice it was trained on; the others are ours.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib

from perfnet_tf.config import (
    ClipConfig,
    DistillConfig,
    ExperimentConfig,
    ModelConfig,
    TrainConfig,
)
from perfnet_tf.errors import InputError, check_choice

#: PERF-Net Sec. 4, Inference: one central crop a video; 250x256x256 for Kinetics.
KINETICS_EVAL_CLIP = ClipConfig(250, 256, 256, short_side=256)

#: Ours, for trainings of some hundred steps. The squared errors of logits are five times the
#: cross-entropy: at a weight of 1, the rate that suits it is too high for them. Held-out top-1 of a
#: student of the preset `mini` by weights of 0.05, 0.2 and, at a fifth of the rate, 1: 49, 58 and
#: 35 %; started from the pose teacher, 67 % by 0.2.
LIGHT_TEACHERS = DistillConfig(teacher_weights={"flow": 0.2, "pose": 0.2, "unified": 0.2})

#: Ours: a network that learns from a few hundred clips in minutes of two CPU cores. S3D-G's moving
#: averages need thousands of steps at its momentum of 0.999; these runs have hundreds.
QUARTER_S3D_G = ModelConfig(
    "s3d_g", width_multiplier=0.25, dropout_rate=0.2, options={"batch_norm_momentum": 0.9}
)

# S3D-G's kernels start small, at a deviation of 0.01: a rate of 0.05 or more drives them apart
# before anything is learned. On a quarter of the training groups of 8 classes of UCF-101, held out,
# RGB on clips of 64x64 reached 23 % by 0.05, 33 by 0.02 and 35 by 0.005 (60 epochs), and 51 by 0.01
# (80 epochs).
_FEW_CLIPS = ExperimentConfig(
    model=QUARTER_S3D_G,
    distill=LIGHT_TEACHERS,
    train=TrainConfig(epochs=80, batch_size=16, learning_rate=0.01),
)

#: PERF-Net Sec. 4.4: 30 epochs. The paper gives neither rate nor batch; mmaction2's UCF-101 recipe
#: has 0.005.
FINETUNING = TrainConfig(epochs=30, batch_size=32, learning_rate=0.005)

# Adam at a low rate keeps what is known; once the clips are learnt, decay would be its whole step.
_FINETUNED_I3D = ExperimentConfig(
    clip=ClipConfig(32, 160, 160, frame_stride=2),
    model=ModelConfig("i3d", dropout_rate=0.5, weight_decay=0.0),
    distill=LIGHT_TEACHERS,
    train=TrainConfig(
        epochs=4,
        batch_size=8,
        learning_rate=3e-5,
        optimizer="adam",
        freeze=("batch_norm", "Mixed_3c"),
    ),
)

PRESETS: dict[str, ExperimentConfig] = {
    # PERF-Net Sec. 4, Tables 2-5: 256 TPU v3 cores x 8 clips, momentum SGD, 2k warm-up steps to
    # 1.6 and 20k cosine steps. 22k steps of 2048 clips are 117 epochs of Kinetics-600's 384k clips.
    "paper_r3d50_g_kinetics": ExperimentConfig(
        clip=ClipConfig(64, 224, 224, short_side=256),
        eval_clip=KINETICS_EVAL_CLIP,
        model=ModelConfig("r3d50_g"),
        train=TrainConfig(
            epochs=117, batch_size=2048, learning_rate=1.6, precision="mixed_bfloat16"
        ),
    ),
    # PERF-Net Sec. 4, Tables 3, 4 and 6: 51 GPUs x 6 clips. The paper gives no S3D-G schedule:
    # R3D50-G's, with its rate scaled to the batch.
    "paper_s3d_g_kinetics": ExperimentConfig(
        clip=ClipConfig(64, 224, 224, short_side=256),
        eval_clip=KINETICS_EVAL_CLIP,
        model=ModelConfig("s3d_g"),
        train=TrainConfig(epochs=117, batch_size=306, precision="mixed_bfloat16"),
    ),
    # PERF-Net Sec. 4.4, Table 7: S3D-G, cross-entropy only, 30 epochs, crops of 224x298.
    "paper_s3d_g_ucf101": ExperimentConfig(
        clip=ClipConfig(64, 224, 298, short_side=256),
        eval_clip=ClipConfig(128, 224, 298, short_side=256),
        model=ModelConfig("s3d_g"),
        train=FINETUNING,
    ),
    "paper_s3d_g_hmdb51": ExperimentConfig(
        clip=ClipConfig(64, 224, 298, short_side=256),
        eval_clip=ClipConfig(64, 224, 298, short_side=256),
        model=ModelConfig("s3d_g"),
        train=FINETUNING,
    ),
    # Ours: I3D's Kinetics weights to the classes of a few hundred videos, after fit-classifier.
    "finetune_i3d": _FINETUNED_I3D,
    # Flow from RGB's weights: every layer has another input, and so have its moving averages.
    "finetune_i3d_flow": _FINETUNED_I3D.replace(
        model=dataclasses.replace(_FINETUNED_I3D.model, options={"batch_norm_momentum": 0.9}),
        train=dataclasses.replace(
            _FINETUNED_I3D.train,
            epochs=12,
            learning_rate=3e-4,
            head_learning_rate_scale=10.0,
            freeze=(),
        ),
    ),
    # Ours: for a few hundred videos and two CPU cores; `perfnet reproduce` trains every network of
    # a table with either. On one core `small` takes some ten minutes a network, and `mini` three,
    # for ten points less.
    "small": _FEW_CLIPS.replace(clip=ClipConfig(16, 112, 112, frame_stride=2)),
    "mini": _FEW_CLIPS.replace(clip=ClipConfig(16, 64, 64, frame_stride=2)),
    # Ours: of `perfnet demo`, one or two minutes per network. Classes name left and right.
    "demo": ExperimentConfig(
        clip=ClipConfig(16, 64, 72),
        model=QUARTER_S3D_G,
        distill=LIGHT_TEACHERS,
        train=TrainConfig(epochs=24, batch_size=8, learning_rate=0.01, mirror=False),
    ),
}


def load_preset(name_or_path: str | os.PathLike[str]) -> ExperimentConfig:
    """The settings of a preset's name, or of the path of a run's `config.json`.

    Raises:
        InputError: there is no such preset or file, or the file holds no configuration.
    """
    name = os.fspath(name_or_path)
    if name in PRESETS:
        return PRESETS[name]
    path = pathlib.Path(name)
    if path.suffix != ".json":
        choices = (*PRESETS, "the path of a run's config.json")
        check_choice("`preset`", name, choices)
    try:
        return ExperimentConfig.from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"`preset` is a preset's name or the config.json of a run. Received: {name}, which "
            "cannot be read."
        ) from error
